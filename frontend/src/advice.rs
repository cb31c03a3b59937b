//! Words the advice of errors for the command line: which command to run, which option to add, or
//! which variable to set.
//!
//! Other front ends (a Python package, a web page) need a function like [`command_line`] of their
//! own; the match is exhaustive, so none of them can miss new advice.

#![warn(clippy::wildcard_enum_match_arm)]

use sortie::protocol::{Advice, Cloud, Limit};

use crate::error::Setting;

/// The advice for a user of the command line, to be appended to the error's message.
#[must_use]
pub fn command_line(advice: &Advice) -> String {
    match advice {
        Advice::NameBroker => "add --broker nats://HOST:4222, or set SORTIE_BROKER".into(),
        Advice::InitBroker => "an operator does that with `sortie broker init`".into(),
        Advice::InitTenant { tenant } => {
            format!("an operator adds it with `sortie broker init --tenant {tenant}`")
        }
        Advice::InitPool { labels } => {
            format!("an operator adds one with `sortie broker init --pool {labels}`")
        }
        Advice::ListJobs => "`sortie job list` shows the existing ones".into(),
        Advice::ListDeadLetters => "`sortie dlq list` shows it".into(),
        Advice::UpdateProgram => {
            "see `sortie dlq list`, and check if a newer version of Sortie runs in the fleet".into()
        }
        Advice::GatherJob { job } => {
            format!("the job stays at the broker: `sortie job gather {job}` writes its results")
        }
        Advice::RunAgain => "run it again with --fresh".into(),
        Advice::RaiseLimit { limit } => raise(*limit).into(),
        Advice::ConfigureStore => "start the host or the worker with a --store URL that names a \
                                   store that can be read and written"
            .into(),
        Advice::ConfigureCache => "name another folder with --cache, or use --cache off".into(),
        Advice::LowerConcurrency => "a lower --concurrency needs less address space".into(),
        Advice::AllowFiles => {
            "the worker's operator can allow tasks to read a folder with `--files DIR`".into()
        }
        Advice::NameArguments { parameters } => name_arguments(parameters),
        Advice::AllowNetworks => "the worker's operator can let tasks read web servers in a \
                                  network with `--allow-network NETWORK`"
            .into(),
        Advice::ListInputs => "name each of them, or write them to a file for --inputs".into(),
        Advice::GiveCredentials { cloud } => credentials(*cloud).into(),
        Advice::NameAccount => "set AZURE_STORAGE_ACCOUNT to the account's name".into(),
        Advice::SetPayer { cloud } => payer(*cloud).into(),
        Advice::SetRegion => "set AWS_REGION to the bucket's region, or AWS_ENDPOINT_URL".into(),
    }
}

/// The option of the command line for a setting.
#[must_use]
pub fn flag(setting: &Setting) -> String {
    match setting {
        Setting::Output => "--output".into(),
        Setting::Inputs => "--inputs".into(),
        Setting::Argument(name) => format!("--arg {name}"),
        Setting::Then => "--then".into(),
        Setting::Reduce => "--reduce".into(),
        Setting::Store => "--store".into(),
        Setting::InputDisk => "--input-disk".into(),
        Setting::Tenant => "--tenant".into(),
        Setting::Broker => "--broker".into(),
        Setting::BrokerCredentials => "--creds".into(),
        Setting::TlsAuthorities => "--tls-ca".into(),
        Setting::TlsCertificate => "--tls-cert".into(),
        Setting::ConnectTime => "--connect-timeout".into(),
        Setting::OutageTime => "--outage-timeout".into(),
    }
}

fn raise(limit: Limit) -> &'static str {
    match limit {
        Limit::Memory(_) => "run it again with a larger --memory",
        Limit::WallTime(_) => "run it again with a longer --timeout",
        Limit::CpuTime(_) => "run it again with a longer --cpu-time",
        Limit::OutputBytes(_) => "run it again with a larger --written",
        Limit::Stack(_) | Limit::Result(_) => "no flag raises this limit",
    }
}

fn name_arguments(parameters: &[String]) -> String {
    let named = parameters
        .iter()
        .map(|name| format!("--arg {name}=VALUE"))
        .collect::<Vec<_>>()
        .join(" ");
    format!("write them one after the other, or name them: {named}")
}

fn credentials(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::S3 => "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        Cloud::Gs => "check GOOGLE_APPLICATION_CREDENTIALS",
        Cloud::Az => "check AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN",
    }
}

fn payer(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::S3 => "if the bucket is set to \"requester pays\", set AWS_REQUEST_PAYER=requester",
        Cloud::Gs => {
            "set GOOGLE_CLOUD_QUOTA_PROJECT to a project that can pay for it, and provide credentials"
        }
        Cloud::Az => "ask the owner of the account who pays",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sortie::ByteSize;

    use super::*;

    #[test]
    fn advice_names_the_command_and_what_to_write_behind_it() {
        let labels: sortie::Labels = "gpu".parse().unwrap();
        assert_eq!(
            command_line(&Advice::InitPool { labels }),
            "an operator adds one with `sortie broker init --pool gpu`"
        );
        assert_eq!(flag(&Setting::Argument("a".into())), "--arg a");
    }

    #[test]
    fn a_limit_is_raised_with_its_flag() {
        let (size, time) = (ByteSize::mib(1), Duration::from_secs(1));
        for (limit, words) in [
            (Limit::Memory(size), "--memory"),
            (Limit::WallTime(time), "--timeout"),
            (Limit::CpuTime(time), "--cpu-time"),
            (Limit::OutputBytes(size), "--written"),
            (Limit::Stack(size), "no flag"),
            (Limit::Result(size), "no flag"),
        ] {
            let text = command_line(&Advice::RaiseLimit { limit });
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn a_store_is_named_with_its_flag() {
        assert!(command_line(&Advice::ConfigureStore).contains("--store URL"));
    }
}
