//! A vector of entries with stable keys, which reuses the places of removed entries.
//!
//! A place takes as many bytes as its entry if the entry has a spare bit pattern. The vector grows
//! by a quarter, so at most a fifth of it is unused capacity; places of removed entries are kept
//! until the slab is empty. It holds at most [`ENTRIES_MAX`] entries, because keys are 32 bits.

use std::marker::PhantomData;
use std::num::NonZeroU32;

/// The largest number of entries: one less than the keys, so that counting them never overflows.
pub(super) const ENTRIES_MAX: usize = (u32::MAX - 1) as usize;
/// The first capacity. Small graphs are the common case, and they pay for it in full.
const CAPACITY_MIN: usize = 8;

/// The place of an entry. It stays valid until the entry is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key<T>(NonZeroU32, PhantomData<T>);

impl<T> Key<T> {
    fn place(&self) -> usize {
        self.0.get() as usize - 1
    }
}

#[derive(Debug)]
enum Place<T> {
    Full(T),
    /// Nothing; the next free place, if there is one.
    Free(Option<Key<T>>),
}

/// Entries by key.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Option<Key<T>>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: None,
            len: 0,
        }
    }
}

impl<T: Copy> Slab<T> {
    /// A copy of an entry; `None` after it was removed.
    pub(super) fn get(&self, key: Key<T>) -> Option<T> {
        match self.places.get(key.place()) {
            Some(Place::Full(entry)) => Some(*entry),
            Some(Place::Free(_)) | None => None,
        }
    }

    /// An entry to change; `None` after it was removed.
    pub(super) fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        match self.places.get_mut(key.place()) {
            Some(Place::Full(entry)) => Some(entry),
            Some(Place::Free(_)) | None => None,
        }
    }

    /// Adds an entry; `None` if the slab is full.
    pub(super) fn insert(&mut self, entry: T) -> Option<Key<T>> {
        if let Some(key) = self.free {
            let place = self.places.get_mut(key.place())?;
            let Place::Free(next) = *place else {
                return None;
            };
            *place = Place::Full(entry);
            self.free = next;
            self.len += 1;
            return Some(key);
        }
        if self.places.len() >= ENTRIES_MAX {
            return None;
        }
        if self.places.len() == self.places.capacity() {
            self.places
                .reserve_exact(CAPACITY_MIN.max(self.places.len() / 4));
        }
        let number = u32::try_from(self.places.len() + 1).ok()?;
        let key = Key(NonZeroU32::new(number)?, PhantomData);
        self.places.push(Place::Full(entry));
        self.len += 1;
        Some(key)
    }

    /// Removes an entry. When it was the last one, the memory is given back.
    pub(super) fn remove(&mut self, key: Key<T>) {
        let Some(place @ Place::Full(_)) = self.places.get_mut(key.place()) else {
            return;
        };
        *place = Place::Free(self.free);
        self.free = Some(key);
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
        }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The bytes that its places take, the unused ones included.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Place<T>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_removed_entries_are_reused_and_their_keys_find_nothing_before_that() {
        let mut slab = Slab::default();
        let first = slab.insert(1_u64).unwrap();
        let second = slab.insert(2).unwrap();
        slab.remove(first);
        slab.remove(first);
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(2)));
        assert_eq!((slab.insert(3), slab.len()), (Some(first), 2));
        *slab.get_mut(second).unwrap() = 4;
        assert_eq!((slab.get(first), slab.get(second)), (Some(3), Some(4)));
    }

    #[test]
    fn at_most_a_fifth_of_a_large_slab_is_unused_and_an_empty_one_takes_nothing() {
        let mut slab = Slab::default();
        let keys: Vec<_> = (0_u64..1000)
            .map(|entry| {
                let key = slab.insert(entry).unwrap();
                let entries = usize::try_from(entry).unwrap() + 1;
                assert!(slab.places.capacity() <= entries * 5 / 4 + CAPACITY_MIN);
                key
            })
            .collect();
        keys.into_iter().for_each(|key| slab.remove(key));
        assert_eq!((slab.len(), slab.bytes()), (0, 0));
    }
}
