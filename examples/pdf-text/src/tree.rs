//! The page tree: which pages a document has, in their order, with what they inherit.
//!
//! Every listing in `/Kids` is a page, also when it lists a page a second time. `/Count` is not
//! looked at: it says nothing that the tree does not say. An entry that leads nowhere becomes a
//! page that cannot be read; null is no entry. A node inside itself is skipped, since all of its
//! pages have been listed. Without a tree the page objects of the file are taken as they stand.
//!
//! Bounded by `PAGES_MAX`, `PAGE_TREE_KIDS_MAX` and `PAGE_TREE_DEPTH_MAX`; nothing recurses.

use hayro_syntax::Pdf;
use hayro_syntax::object::array::ArrayIter;
use hayro_syntax::object::{Array, Dict, MaybeRef, Name, Null, Object, ObjectIdentifier, Rect};
use hayro_syntax::page::A4;
use rustc_hash::FxHashSet;

use crate::error::Error;
use crate::limits::{PAGE_TREE_DEPTH_MAX, PAGE_TREE_KIDS_MAX, PAGES_MAX};
use crate::matrix::Matrix;

/// What a page takes from the nodes above it.
#[derive(Clone, Default)]
struct Inherited<'a> {
    media_box: Option<Rect>,
    crop_box: Option<Rect>,
    rotate: Option<i32>,
    resources: Option<Dict<'a>>,
    /// Resources are named and cannot be found.
    lacks_resources: bool,
}

impl<'a> Inherited<'a> {
    /// What a node or page has, or else hands down.
    fn with(&self, dict: &Dict<'a>) -> Self {
        let resources = dict.get::<Dict<'a>>("Resources");
        let names_resources = dict.get_ref("Resources").is_some();
        Self {
            media_box: dict.get::<Rect>("MediaBox").or(self.media_box),
            crop_box: dict.get::<Rect>("CropBox").or(self.crop_box),
            rotate: dict.get::<i32>("Rotate").or(self.rotate),
            lacks_resources: resources.is_none() && (names_resources || self.lacks_resources),
            resources: resources.or_else(|| self.resources.clone()),
        }
    }
}

/// A page of the document.
pub(crate) struct Page<'a> {
    pub(crate) dict: Dict<'a>,
    inherited: Inherited<'a>,
}

impl<'a> Page<'a> {
    fn new(dict: Dict<'a>, outer: &Inherited<'a>) -> Self {
        Self {
            inherited: outer.with(&dict),
            dict,
        }
    }

    /// The resource dictionary, empty when there is none.
    pub(crate) fn resources(&self) -> Dict<'a> {
        self.inherited.resources.clone().unwrap_or_default()
    }

    pub(crate) fn lacks_resources(&self) -> bool {
        self.inherited.lacks_resources
    }

    /// The box that a reader sees: what the crop box leaves of the media box, and the media box
    /// where that is nothing.
    fn visible_box(&self) -> Rect {
        let is_real = |rect: &Rect| rect.width() >= 1.0 && rect.height() >= 1.0;
        let media = self.inherited.media_box.filter(is_real).unwrap_or(A4);
        let crop = self.inherited.crop_box.unwrap_or(media);
        let visible = crop.intersect(media);
        if is_real(&visible) { visible } else { media }
    }

    /// From the page's coordinates to those of its visible box as a reader sees it, with the size
    /// of that box.
    pub(crate) fn matrix(&self) -> (Matrix, f32, f32) {
        let Rect { x0, y0, x1, y1 } = self.visible_box();
        let (width, height) = (crate::font::narrow(x1 - x0), crate::font::narrow(y1 - y0));
        match self.inherited.rotate.unwrap_or(0).rem_euclid(360) {
            90 => (Matrix([0.0, 1.0, 1.0, 0.0, -y0, -x0]), height, width),
            180 => (Matrix([-1.0, 0.0, 0.0, 1.0, x1, -y0]), width, height),
            270 => (Matrix([0.0, -1.0, -1.0, 0.0, y1, x1]), height, width),
            _ => (Matrix([1.0, 0.0, 0.0, -1.0, -x0, y1]), width, height),
        }
    }
}

/// A place in the order of pages.
pub(crate) enum Slot<'a> {
    Page(Box<Page<'a>>),
    /// A page, or more than one, that cannot be read, and why.
    Unreadable(String),
}

/// The pages of a document.
pub(crate) struct Pages<'a> {
    pub(crate) slots: Vec<Slot<'a>>,
    /// What is wrong with the tree as a whole.
    pub(crate) damage: Option<String>,
}

/// Read the page tree, or collect the pages of a file that has none.
pub(crate) fn read(pdf: &Pdf) -> Result<Pages<'_>, Error> {
    let xref = pdf.xref();
    let tree = xref
        .get::<Dict<'_>>(xref.root_id())
        .and_then(|catalog| catalog.get::<Dict<'_>>("Pages"));
    let slots = match tree {
        Some(tree) => Walk::new(pdf, tree).collect()?,
        None => Vec::new(),
    };
    if slots.iter().any(|slot| matches!(slot, Slot::Page(_))) {
        return Ok(Pages {
            slots,
            damage: None,
        });
    }
    let loose = loose_pages(pdf)?;
    if loose.is_empty() {
        return Ok(Pages {
            slots,
            damage: None,
        });
    }
    Ok(Pages {
        slots: loose,
        damage: Some(
            "its page tree is missing: the pages are in the order of the file, and there may be \
             more"
                .into(),
        ),
    })
}

/// The page objects of a file, in the order of the file.
fn loose_pages(pdf: &Pdf) -> Result<Vec<Slot<'_>>, Error> {
    let mut slots = Vec::new();
    for dict in pdf.objects().into_iter().filter_map(Object::into_dict) {
        if dict.get::<Name<'_>>("Type").as_deref() == Some(b"Page") {
            push(
                &mut slots,
                Slot::Page(Box::new(Page::new(dict, &Inherited::default()))),
            )?;
        }
    }
    Ok(slots)
}

fn push<'a>(slots: &mut Vec<Slot<'a>>, slot: Slot<'a>) -> Result<(), Error> {
    if slots.len() >= PAGES_MAX {
        return Err(Error::TooLarge {
            what: "pages",
            max: PAGES_MAX as u64,
        });
    }
    slots.push(slot);
    Ok(())
}

/// A node whose kids are being read.
struct Node<'a> {
    id: Option<ObjectIdentifier>,
    kids: ArrayIter<'a>,
    inherited: Inherited<'a>,
}

/// A walk through the tree, in the order of pages.
struct Walk<'a> {
    pdf: &'a Pdf,
    stack: Vec<Node<'a>>,
    /// The nodes on the stack.
    open: FxHashSet<ObjectIdentifier>,
    kids: usize,
    slots: Vec<Slot<'a>>,
}

impl<'a> Walk<'a> {
    fn new(pdf: &'a Pdf, tree: Dict<'a>) -> Self {
        let mut walk = Self {
            pdf,
            stack: Vec::new(),
            open: FxHashSet::default(),
            kids: 0,
            slots: Vec::new(),
        };
        match tree.get::<Array<'a>>("Kids") {
            Some(kids) => walk.enter(&tree, &kids, &Inherited::default()),
            // A document of one page may do without a tree.
            None if tree.contains_key("Contents") => walk
                .slots
                .push(Slot::Page(Box::new(Page::new(tree, &Inherited::default())))),
            None => {}
        }
        walk
    }

    fn enter(&mut self, dict: &Dict<'a>, kids: &Array<'a>, outer: &Inherited<'a>) {
        let id = dict.obj_id();
        self.open.extend(id);
        self.stack.push(Node {
            id,
            kids: kids.raw_iter(),
            inherited: outer.with(dict),
        });
    }

    fn collect(mut self) -> Result<Vec<Slot<'a>>, Error> {
        while let Some(node) = self.stack.last_mut() {
            let Some(kid) = node.kids.next() else {
                if let Some(id) = node.id {
                    self.open.remove(&id);
                }
                self.stack.pop();
                continue;
            };
            self.kids += 1;
            if self.kids > PAGE_TREE_KIDS_MAX {
                return Err(Error::TooLarge {
                    what: "entries in its page tree",
                    max: PAGE_TREE_KIDS_MAX as u64,
                });
            }
            let inherited = node.inherited.clone();
            self.on_kid(kid, &inherited)?;
        }
        Ok(self.slots)
    }

    fn on_kid(&mut self, kid: MaybeRef<Object<'a>>, outer: &Inherited<'a>) -> Result<(), Error> {
        let dict = match kid {
            MaybeRef::Ref(reference) => {
                let id = ObjectIdentifier::from(reference);
                if self.open.contains(&id) {
                    return Ok(());
                }
                let xref = self.pdf.xref();
                match xref.get::<Dict<'a>>(id) {
                    Some(dict) => dict,
                    None if xref.get::<Null>(id).is_some() => return Ok(()),
                    None => {
                        return self.push(Slot::Unreadable(format!(
                            "object {} of the page tree is missing",
                            id.obj_number
                        )));
                    }
                }
            }
            MaybeRef::NotRef(object) => match object.into_dict() {
                Some(dict) => dict,
                None => return Ok(()),
            },
        };
        let kind = dict.get::<Name<'_>>("Type");
        let is_page = kind.as_deref() == Some(b"Page");
        match dict.get::<Array<'a>>("Kids") {
            Some(_) if self.stack.len() >= PAGE_TREE_DEPTH_MAX => self.push(Slot::Unreadable(
                format!("the page tree is more than {PAGE_TREE_DEPTH_MAX} levels deep"),
            )),
            Some(kids) if !is_page => {
                self.enter(&dict, &kids, outer);
                Ok(())
            }
            None if kind.as_deref() == Some(b"Pages") && !dict.contains_key("Contents") => {
                let is_empty = !dict.contains_key("Kids") && dict.get::<u32>("Count") == Some(0);
                match is_empty {
                    true => Ok(()),
                    false => self.push(Slot::Unreadable(
                        "a part of the page tree has lost its pages".into(),
                    )),
                }
            }
            // A page may lack its type, or have a wrong one.
            _ => self.push(Slot::Page(Box::new(Page::new(dict, outer)))),
        }
    }

    fn push(&mut self, slot: Slot<'a>) -> Result<(), Error> {
        push(&mut self.slots, slot)
    }
}
