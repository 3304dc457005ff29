//! Cases from Salesforce's pages and from public code, row by row.
#![cfg(feature = "server")]

use quotagate::quota::{
    OrgId, UserId,
    salesforce::{ApiUsage, AppUsage, LimitInfo},
};
use serde_json::Value;

#[test]
fn every_limit_info_header_is_read_as_its_row_says() {
    for row in rows("sforce_limit_info") {
        let info = LimitInfo::parse(text(&row, "header"));
        assert_eq!(info, expected(&row), "row {}", row["id"]);
    }
}

#[test]
fn every_soap_limit_info_is_read_as_its_row_says() {
    for row in rows("soap_limit_info") {
        let info = LimitInfo::parse_soap(text(&row, "xml"));
        assert_eq!(info, expected(&row), "row {}", row["id"]);
    }
}

#[test]
fn every_answer_of_the_limits_resource_is_read_as_its_row_says() {
    for row in rows("limits_json") {
        let usage = ApiUsage::of_limits(&row["json"].to_string());
        let expected = &row["expect"]["org_daily"];
        let figures = usage.map(|usage| (usage.used, usage.limit));
        let expected = expected["max"].as_u64().map(|max| {
            let used = expected["used"].as_u64().expect("a figure is a number");
            assert_eq!(expected["remaining"].as_u64(), Some(max - used));
            (used, max)
        });
        assert_eq!(figures, expected, "row {}", row["id"]);
    }
}

#[test]
fn every_salesforce_id_is_held_in_its_18_characters() {
    for row in rows("salesforce_id_vectors") {
        let (short, long) = (text(&row, "id15"), text(&row, "id18"));
        let parse = |id: &str| match text(&row, "kind") {
            "org" => OrgId::parse(id).map(|id| id.to_string()).ok(),
            "user" => UserId::parse(id).map(|id| id.to_string()).ok(),
            kind => panic!("a row of an unknown kind: {kind}"),
        };
        let lower_suffix = format!("{short}{}", long[15..].to_lowercase());
        for accepted in [short, long, &lower_suffix] {
            assert_eq!(parse(accepted).as_deref(), Some(long), "{accepted}");
        }
        // The suffix vouches for the case of what stands before it.
        let wrong_suffix = format!("{short}AAA");
        let wrong_case = format!("{}{}", short.to_uppercase(), &long[15..]);
        for refused in [&wrong_suffix, &wrong_case] {
            assert_eq!(parse(refused), None, "{refused}");
        }
    }
}

fn rows(table: &str) -> Vec<Value> {
    let samples: Value = serde_json::from_str(include_str!("data/salesforce_samples.json"))
        .expect("the samples are JSON");
    let rows = samples[table].as_array().expect("a table is an array").clone();
    assert!(!rows.is_empty(), "the table {table} has no rows");
    rows
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("{field} of {row} is a text"))
}

/// What a row expects; a figure that it does not name is absent.
fn expected(row: &Value) -> LimitInfo {
    let expect = &row["expect"];
    let figure = |of: &Value, field: &str| of[field].as_u64().expect("a figure is a number");
    let usage = |field: &str| {
        let of = &expect[field];
        (!of.is_null()).then(|| ApiUsage { used: figure(of, "used"), limit: figure(of, "limit") })
    };
    LimitInfo {
        api_usage: usage("api_usage"),
        per_app: usage("per_app").map(|ApiUsage { used, limit }| AppUsage {
            used,
            limit,
            app_name: expect["per_app"]["app_name"].as_str().map(str::to_owned),
        }),
        api_bursts: usage("api_bursts"),
    }
}
