//! What is declared: for all orgs, for one, and for one workspace; and what the
//! catalogue says.
//!
//! Each change is shown before it is saved (`edit`), upon the state that its form
//! began with. A form that cannot be saved comes back as it was typed, with what is
//! wrong beside each field (`draft`, `fields`).

mod catalogue;
mod draft;
mod edit;
pub mod facts;
mod fields;
mod list;
mod org;
mod standing;
mod workspace;

pub use self::{
    list::{add, page},
    org::{change, page as org_page},
    standing::Told,
    workspace::{change as change_workspace, page as workspace_page},
};
