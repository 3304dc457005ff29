//! What stands around every page.

use crate::auth::{Caller, Verb};

/// Where a page stands in the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The orgs, and each of them.
    Orgs,
    /// The nodes.
    Cluster,
    /// What is declared.
    Settings,
    /// Outside of it.
    None,
}

/// Head and foot of a page.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The page's title.
    pub title: String,
    /// The navigation; empty for strangers.
    pub nav: Vec<NavItem>,
    /// Who looks; `None` where nobody is asked for a name.
    pub who: Option<String>,
    /// They have a session, which they can end.
    pub has_session: bool,
    /// After so many seconds its script asks again, and shows the page once there is one.
    pub again_after: Option<u64>,
}

/// One entry of the navigation.
#[derive(Clone, Copy, Debug)]
pub struct NavItem {
    /// What it is called.
    pub name: &'static str,
    /// Where it leads.
    pub path: &'static str,
    /// The page is part of it.
    pub is_here: bool,
}

impl Frame {
    /// The frame for somebody: it offers where they may go.
    pub fn new(
        title: impl Into<String>,
        section: Section,
        caller: &Caller,
        has_session: bool,
    ) -> Self {
        let all = [
            ("Orgs", "/", Section::Orgs, true),
            ("Cluster", "/cluster", Section::Cluster, caller.may_everywhere(Verb::Admin)),
            ("Settings", "/settings", Section::Settings, caller.may_somewhere(Verb::Admin)),
        ];
        let item = |(name, path, of, _)| NavItem { name, path, is_here: of == section };
        Self {
            nav: all.into_iter().filter(|&(.., offered)| offered).map(item).collect(),
            who: caller.principal().map(ToString::to_string),
            has_session,
            ..Self::bare(title)
        }
    }

    /// The frame for somebody who is not known.
    pub fn bare(title: impl Into<String>) -> Self {
        let title = title.into();
        Self { title, nav: Vec::new(), who: None, has_session: false, again_after: None }
    }

    /// The pages of an org that this visitor may see.
    pub fn org_tabs(&self, org: &str) -> Vec<OrgTab> {
        let administers = self.nav.iter().any(|item| item.path == "/settings");
        let all = [
            ("Usage", "", true),
            ("Explain", "/explain", true),
            ("What if", "/what-if", true),
            ("Settings", "/settings", administers),
            ("Changes", "/changes", administers),
        ];
        let tab = |(name, page, _)| OrgTab { name, path: format!("/orgs/{org}{page}") };
        all.into_iter().filter(|&(.., offered)| offered).map(tab).collect()
    }

    /// The program's version, for the foot.
    pub fn version(&self) -> &'static str {
        crate::VERSION
    }
}

/// One of the pages of an org.
#[derive(Clone, Debug)]
pub struct OrgTab {
    /// What it is called.
    pub name: &'static str,
    /// Where it is.
    pub path: String,
}
