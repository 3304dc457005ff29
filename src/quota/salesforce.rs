//! What Salesforce says about its limits: headers and error bodies.

/// The org's total as Salesforce counts it. `used` may exceed `limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiUsage {
    /// Units used in the last 24 hours, by everybody.
    pub used: u64,
    /// The org's limit; 0 is unknown.
    pub limit: u64,
}
