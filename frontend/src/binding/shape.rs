//! Turns the text of an input into the arguments of a task, by the function's signature.
//!
//! A parameter is either fixed for the whole job or open. With one open parameter an input is that
//! parameter's argument: for an object what [`Places`] finds, for a value what its type makes of
//! the text ([`Type`]). With several, or none, an input is a JSON array of all of them.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use serde_json::Value;
use sortie::objects::{Address, Location, Malformed};
use sortie::protocol::{Advice, ObjectList, ObjectRef, Parameter, Place};
use sortie::{Arguments, Input, InputName, Kind, Signature};

use super::places::{Look, Named, Places};
use super::types::Type;
use crate::error::{Error, Setting};
use crate::results::{Naming, Stems};

/// The fixed arguments of a job, and the open parameters that inputs provide.
#[derive(Debug)]
pub struct Shape {
    signature: String,
    slots: Vec<Slot>,
    open: Vec<Parameter>,
    /// What each of them takes.
    types: Vec<Type>,
    places: Places,
    /// What names the objects that tasks make, if anything does.
    naming: Option<Naming>,
}

#[derive(Debug)]
enum Slot {
    Fixed(Input),
    Open,
}

/// One parsed input.
#[derive(Debug)]
pub(crate) struct Given {
    /// The input as results show it.
    pub(crate) shown: Value,
    open: Vec<Input>,
    /// Whether its task can make an object: not if it is known to fail.
    may_make: bool,
}

impl From<super::places::Place> for Given {
    fn from(place: super::places::Place) -> Self {
        let open = vec![place.input()];
        Self {
            may_make: place.found.trouble.is_none(),
            ..Self::new(place.shown, open)
        }
    }
}

impl Given {
    fn new(shown: Value, open: Vec<Input>) -> Self {
        Self {
            shown,
            open,
            may_make: true,
        }
    }
}

/// The inputs that a text names.
pub(crate) enum Read {
    /// These inputs.
    Known(Vec<Given>),
    /// Those that a listing brings.
    Listing(BoxStream<'static, Result<Given, Error>>),
}

impl From<Named> for Read {
    fn from(named: Named) -> Self {
        match named {
            Named::Known(places) => Self::Known(places.into_iter().map(Given::from).collect()),
            Named::Listing(places) => {
                Self::Listing(places.map(|place| place.map(Given::from)).boxed())
            }
        }
    }
}

impl Shape {
    /// The shape of `signature` with these fixed arguments.
    ///
    /// # Errors
    /// When one of them names an unknown parameter, names one twice, or names a missing object.
    pub async fn new(
        signature: &Signature,
        fixed: &[(String, String)],
        places: Places,
    ) -> Result<Self, Error> {
        check_names(signature, fixed)?;
        let mut shape = Self {
            signature: signature.to_string(),
            slots: Vec::new(),
            open: Vec::new(),
            types: Vec::new(),
            places,
            naming: None,
        };
        for parameter in &signature.parameters {
            let slot = match fixed.iter().find(|(name, _)| *name == parameter.name) {
                Some((name, text)) => Slot::Fixed(
                    shape
                        .fixed(parameter, text)
                        .await
                        .map_err(|error| error.about(Setting::Argument(name.clone())))?,
                ),
                None => {
                    shape.open.push(parameter.clone());
                    shape.types.push(Type::of(&parameter.type_name));
                    Slot::Open
                }
            };
            shape.slots.push(slot);
        }
        Ok(shape)
    }

    /// Where inputs have names from.
    #[must_use]
    pub fn stems(&self) -> Stems {
        match &*self.open {
            [parameter] if matches!(parameter.kind, Kind::Object | Kind::Prefix) => Stems::Named,
            _ => Stems::Unnamed,
        }
    }

    /// The same; inputs are looked at for whether the objects that are made of them can be named.
    #[must_use]
    pub fn with_naming(self, naming: Option<Naming>) -> Self {
        Self { naming, ..self }
    }

    /// What `text` stands for: several tasks' inputs if it is a pattern, else one.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub(crate) async fn read(&self, text: &str, look: Look) -> Result<Read, Error> {
        let read = self.look_up(text, look).await?;
        if let (Some(naming), Look::Now, Read::Known(given)) = (&self.naming, look, &read) {
            given
                .iter()
                .filter(|given| given.may_make)
                .try_for_each(|given| naming.expect(&given.shown))?;
        }
        Ok(read)
    }

    async fn look_up(&self, text: &str, look: Look) -> Result<Read, Error> {
        match &*self.open {
            [
                Parameter {
                    kind: Kind::Object, ..
                },
            ] => match look {
                Look::Now => self.places.find(text).await.map(Read::from),
                Look::Later => self.places.find_unseen(text).map(Read::from),
            },
            [
                Parameter {
                    kind: Kind::Prefix, ..
                },
            ] => {
                let open = vec![self.prefix(text, look)?];
                let given = Given::new(Value::String(text.into()), open);
                Ok(Read::Known(vec![given]))
            }
            [
                Parameter {
                    kind: Kind::Objects,
                    ..
                },
            ] => {
                let (names, shown) = self.listed(text)?;
                let places = self.places.list_of(&names, look).await?;
                let may_make = places.iter().all(|place| place.found.trouble.is_none());
                let open = vec![sortie::object_list(
                    places.iter().map(|place| place.input()),
                )];
                let given = Given::new(shown, open);
                Ok(Read::Known(vec![Given { may_make, ..given }]))
            }
            [
                Parameter {
                    kind: Kind::Value, ..
                },
            ] => {
                let (input, shown) = self.value(text)?;
                Ok(Read::Known(vec![Given::new(shown, vec![input])]))
            }
            _ => self.array(text).map(|given| Read::Known(vec![given])),
        }
    }

    /// Whether `text` can be an input, as far as can be told without looking at objects.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub(crate) fn check(&self, text: &str) -> Result<(), Error> {
        match &*self.open {
            [
                Parameter {
                    kind: Kind::Object, ..
                },
            ] => {
                self.address(text)?;
                match &self.naming {
                    // Which objects a pattern stands for is found out later.
                    Some(naming) if !text.contains(['*', '?', '[']) => {
                        naming.expect(&Value::String(text.into()))
                    }
                    Some(_) | None => Ok(()),
                }
            }
            [
                Parameter {
                    kind: Kind::Prefix, ..
                },
            ] => self.prefix(text, Look::Later).map(|_| ()),
            [
                Parameter {
                    kind: Kind::Objects,
                    ..
                },
            ] => {
                let (names, _) = self.listed(text)?;
                names
                    .iter()
                    .try_for_each(|name| self.address(name).map(|_| ()))
            }
            [
                Parameter {
                    kind: Kind::Value, ..
                },
            ] => self.value(text).map(|_| ()),
            _ => self.array(text).map(|_| ()),
        }
    }

    /// One argument for each open parameter, for a single call.
    ///
    /// # Errors
    /// When their number is wrong, or an object is not there.
    pub async fn arguments(&self, texts: &[String]) -> Result<Arguments, Error> {
        self.check_count(texts.len())?;
        let mut open = Vec::with_capacity(texts.len());
        for (parameter, text) in self.open.iter().zip(texts) {
            open.push(self.fixed(parameter, text).await?);
        }
        Ok(self.fill(Given::new(Value::Null, open)))
    }

    /// The parameters that are not fixed.
    pub(crate) fn open(&self) -> &[Parameter] {
        &self.open
    }

    /// The arguments of a task whose only open parameter takes `result`, for an input that results
    /// call so.
    pub(crate) fn with_result(&self, result: Input, input: Option<InputName>) -> Arguments {
        let arguments = self.fill(Given::new(Value::Null, vec![result]));
        match input {
            Some(input) => arguments.named(input),
            None => arguments,
        }
    }

    /// All arguments of a task, in order, with the name that results call them by wherever they
    /// are read.
    pub(crate) fn fill(&self, given: Given) -> Arguments {
        let mut open = given.open.into_iter();
        let argument = |slot: &Slot| match slot {
            Slot::Fixed(input) => Some(input.clone()),
            Slot::Open => open.next(),
        };
        let inputs: Vec<Input> = self.slots.iter().filter_map(argument).collect();
        let arguments = Arguments::from(inputs);
        match name(&given.shown) {
            Some(name) => arguments.named(name),
            None => arguments,
        }
    }

    async fn fixed(&self, parameter: &Parameter, text: &str) -> Result<Input, Error> {
        match parameter.kind {
            Kind::Object => self.places.find_one(text).await.map(|place| place.input()),
            Kind::Prefix => self.prefix(text, Look::Now),
            Kind::Objects => {
                let (names, _) = listed(&parameter.name, text)?;
                self.places.fixed_list(&names).await
            }
            Kind::Value => match Type::of(&parameter.type_name).read(text) {
                Ok((input, _)) => Ok(input),
                Err(wanted) => Err(unfit(parameter, &wanted)),
            },
        }
    }

    /// The names in a list, the argument of the one open parameter, and the list as results show
    /// it.
    fn listed(&self, text: &str) -> Result<(Vec<String>, Value), Error> {
        let name = self.open.first().map_or("", |open| &open.name);
        listed(name, text)
    }

    /// The argument of the one open parameter.
    fn value(&self, text: &str) -> Result<(Input, Value), Error> {
        let ([parameter], [kind]) = (&*self.open, &*self.types) else {
            return Err(Error::usage("there is not one open parameter"));
        };
        kind.read(text).map_err(|wanted| unfit(parameter, &wanted))
    }

    fn array(&self, text: &str) -> Result<Given, Error> {
        let items = match serde_json::from_str(text) {
            Ok(Value::Array(items)) => items,
            _ if self.open.is_empty() => {
                return Err(Error::usage(format!(
                    "`{}` has no parameters left for inputs; write [] for each task, or call it \
                     once",
                    self.signature
                )));
            }
            _ => {
                return Err(Error::usage(format!(
                    "`{}` is not a JSON array of {}",
                    cut(text),
                    self.wanted()
                )));
            }
        };
        self.check_count(items.len())?;
        let open = self
            .open
            .iter()
            .zip(&self.types)
            .zip(&items)
            .map(|((parameter, kind), item)| self.item(parameter, kind, item))
            .collect::<Result<_, _>>()?;
        Ok(Given::new(Value::Array(items), open))
    }

    fn item(&self, parameter: &Parameter, kind: &Type, item: &Value) -> Result<Input, Error> {
        match (parameter.kind, item) {
            (Kind::Value, item) => kind.take(item).map_err(|wanted| unfit(parameter, &wanted)),
            (Kind::Object, Value::String(text)) => self
                .address(text)
                .map(|address| Input::from(ObjectRef::from(address))),
            (Kind::Prefix, Value::String(text)) => self.prefix(text, Look::Later),
            (Kind::Objects, Value::Array(names)) => {
                let objects = strings(&parameter.name, names)?
                    .iter()
                    .map(|name| self.address(name).map(ObjectRef::from).map(Input::from))
                    .collect::<Result<Vec<_>, _>>()?;
                Ok(sortie::object_list(objects))
            }
            (Kind::Objects, other) => Err(no_list(&parameter.name, other)),
            (Kind::Prefix, other) => Err(Error::usage(format!(
                "parameter `{}` takes a prefix, so write its path or URL as a string, not {other}",
                parameter.name
            ))),
            (Kind::Object, other) => Err(Error::usage(format!(
                "parameter `{}` takes an object, so write its path or URL as a string, not {other}",
                parameter.name
            ))),
        }
    }

    /// A place that objects lie below. Paths are relative to the folder of the command.
    fn prefix(&self, text: &str, look: Look) -> Result<Input, Error> {
        let place = match Place::parse(text, &self.places.folder) {
            Ok(place) => place,
            Err(Malformed::NoSlash(shown)) => {
                return Err(Error::usage(format!(
                    "`{shown}` is not a prefix: a prefix ends in a slash, as in `s3://bucket/array.zarr/` \
                     or `folder/`"
                )));
            }
            Err(error) => return Err(Error::usage(error.to_string())),
        };
        match place.location() {
            Location::File(folder) if look == Look::Now && !folder.is_dir() => {
                return Err(Error::usage(format!("there is no folder `{text}`")));
            }
            location @ Location::File(_) => self.places.files.note(location),
            location => self.places.check_prefix(text, location)?,
        }
        Ok(Input::from(place))
    }

    fn address(&self, text: &str) -> Result<Address, Error> {
        self.places.check_reach(text)?;
        let address = self
            .places
            .address(text)
            .map_err(|error| Error::usage(error.to_string()))?;
        self.places.refuse_output(&address.location)?;
        self.places.files.note(&address.location);
        Ok(address)
    }

    fn check_count(&self, count: usize) -> Result<(), Error> {
        if count == self.open.len() {
            return Ok(());
        }
        Err(Error::usage(format!(
            "`{}` takes {}, but got {count}",
            self.signature,
            self.wanted()
        ))
        .advised((!self.open.is_empty()).then(|| Advice::NameArguments {
            parameters: self.open.iter().map(|open| open.name.clone()).collect(),
        })))
    }

    /// The open parameters, for people.
    fn wanted(&self) -> String {
        let names: Vec<_> = self
            .open
            .iter()
            .map(|parameter| format!("`{}`", parameter.name))
            .collect();
        let beside = if self.open.len() < self.slots.len() {
            " in addition to the fixed ones"
        } else {
            ""
        };
        match &*names {
            [] => format!("no arguments{beside}"),
            [name] => format!("1 argument{beside}: {name}"),
            names => format!("{} arguments{beside}: {}", names.len(), names.join(", ")),
        }
    }
}

/// The names of a list of objects, and how results show it: a JSON array of strings, or one name or
/// pattern, which may begin with a bracket as well.
fn listed(parameter: &str, text: &str) -> Result<(Vec<String>, Value), Error> {
    match serde_json::from_str(text) {
        Ok(Value::Array(items)) => Ok((strings(parameter, &items)?, Value::Array(items))),
        Err(error) if text.trim_start().starts_with("[\"") => Err(Error::usage(format!(
            "parameter `{parameter}` takes a list of objects, and `{}` is no JSON array: {error}",
            cut(text)
        ))),
        Ok(_) | Err(_) => Ok((vec![text.to_owned()], Value::String(text.into()))),
    }
}

/// The names in an array.
fn strings(parameter: &str, items: &[Value]) -> Result<Vec<String>, Error> {
    if items.len() > ObjectList::LEN_MAX {
        let (count, most) = (items.len(), ObjectList::LEN_MAX);
        return Err(Error::usage(format!(
            "parameter `{parameter}` got a list of {count} objects; at most {most} are one argument"
        )));
    }
    items
        .iter()
        .map(|item| match item {
            Value::String(name) => Ok(name.clone()),
            other => Err(no_list(parameter, other)),
        })
        .collect()
}

fn no_list(parameter: &str, item: &Value) -> Error {
    Error::usage(format!(
        "parameter `{parameter}` takes a list of objects, so write their paths or URLs as an array \
         of strings, not {item}"
    ))
}

/// An argument that its parameter does not take.
fn unfit(parameter: &Parameter, wanted: &str) -> Error {
    Error::usage(format!("parameter `{}` {wanted}", parameter.name))
}

/// What results call an input that is shown so: JSON, which [`shown`] reads again. Of a value that
/// is too long for a name it is the beginning.
pub(crate) fn name(shown: &Value) -> Option<InputName> {
    match shown {
        Value::Null => None,
        // A path or URL is its own name, unless it would be read as something else.
        Value::String(text) if serde_json::from_str::<Value>(text).is_err() => {
            Some(text.as_str().into())
        }
        value => Some(value.to_string().into()),
    }
}

/// The input that a result says it is of, as results show it.
#[must_use]
pub fn shown(name: Option<&InputName>) -> Value {
    match name {
        None => Value::Null,
        Some(name) => serde_json::from_str(name.as_str())
            .unwrap_or_else(|_| Value::String(name.as_str().into())),
    }
}

fn cut(text: &str) -> String {
    sortie::protocol::outcome::cut(text.into(), 80)
}

fn check_names(signature: &Signature, fixed: &[(String, String)]) -> Result<(), Error> {
    for (i, (name, _)) in fixed.iter().enumerate() {
        if !signature
            .parameters
            .iter()
            .any(|parameter| parameter.name == *name)
        {
            return Err(
                Error::usage(format!("`{signature}` has no parameter of this name"))
                    .about(Setting::Argument(name.clone())),
            );
        }
        if fixed.iter().take(i).any(|(earlier, _)| earlier == name) {
            return Err(Error::usage("it is given twice").about(Setting::Argument(name.clone())));
        }
    }
    Ok(())
}
