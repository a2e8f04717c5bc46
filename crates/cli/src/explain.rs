//! `quorate explain`: what an error means and what to do, without a cluster.

use crate::doris::outcome_text;
use crate::output::{self, OutputArguments, Sheet};
use anyhow::bail;
use quorate_model::error::{ERROR_TABLE, ErrorRow, RetryClass};
use serde_json::{Value as Json, json};

/// Prints the row of an error that is named by its name or number, in any spelling of either; all rows without one.
pub fn run(code: Option<&str>, output: &OutputArguments) -> anyhow::Result<()> {
    let Some(code) = code else {
        let rows = ERROR_TABLE.iter().map(message).collect();
        output::show(output, Json::Array(rows), |_| {
            let mut sheet = Sheet::new(["NUMBER", "NAME", "WHAT TO DO"]);
            for row in ERROR_TABLE {
                sheet.row([row.number.to_string(), row.name.to_owned(), row.advice.to_owned()]);
            }
            ("Every error a peer can answer.".to_owned(), sheet)
        });
        return Ok(());
    };
    let row = find(code)?;
    output::show(output, message(row), |_| {
        (format!("{} is error {}.", row.name, row.number), sheet(row))
    });
    Ok(())
}

fn find(code: &str) -> anyhow::Result<&'static ErrorRow> {
    let wanted = code.trim().to_ascii_lowercase().replace(['-', ' '], "_");
    let found = ERROR_TABLE
        .iter()
        .find(|row| row.name == wanted || row.number.to_string() == wanted || format!("{:?}", row.code).eq_ignore_ascii_case(&wanted));
    if let Some(row) = found {
        return Ok(row);
    }
    let near: Vec<&str> = ERROR_TABLE
        .iter()
        .map(|row| row.name)
        .filter(|name| wanted.split('_').any(|word| word.len() > 2 && name.contains(word)))
        .collect();
    match near.is_empty() {
        true => bail!("there is no error {code:?}; `quorate explain` lists all"),
        false => bail!("there is no error {code:?}; near it are {}", near.join(", ")),
    }
}

fn retry_text(retry: RetryClass) -> &'static str {
    match retry {
        RetryClass::Never => "the same call fails again",
        RetryClass::SamePeer => "the same peer can answer later",
        RetryClass::OtherPeer => "another peer can answer now",
        RetryClass::SameRequestId => "repeat it under the same request id",
    }
}

fn message(row: &ErrorRow) -> Json {
    json!({
        "number": row.number, "name": row.name, "advice": row.advice, "retry": retry_text(row.retry),
        "outcome": outcome_text(row.outcome), "http_status": row.http_status, "grpc_status": row.grpc_status,
        "doris_code": row.doris.name(), "doris_number": row.doris_number
    })
}

fn sheet(row: &ErrorRow) -> Sheet {
    let mut sheet = Sheet::new(["FACT", "VALUE"]);
    let facts = [
        ("what to do", row.advice.to_owned()),
        ("another try", retry_text(row.retry).to_owned()),
        ("what was changed", outcome_text(row.outcome).to_owned()),
        ("HTTP status", row.http_status.to_string()),
        ("gRPC status", row.grpc_status.to_string()),
        ("Doris code", format!("{} ({})", row.doris.name(), row.doris_number)),
    ];
    for (fact, value) in facts {
        sheet.row([fact.to_owned(), value]);
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_found_by_name_and_number_in_any_spelling() {
        for row in ERROR_TABLE {
            for spelling in [
                row.name.to_owned(),
                row.number.to_string(),
                row.name.to_uppercase().replace('_', "-"),
                format!("{:?}", row.code),
            ] {
                assert_eq!(find(&spelling).expect("found").number, row.number, "{spelling}");
            }
        }
    }

    #[test]
    fn a_name_that_is_none_brings_those_near_it() {
        let error = find("leader").expect_err("none").to_string();
        assert!(error.contains("no_leader") && error.contains("not_leader"), "{error}");
        let error = find("xyz").expect_err("none").to_string();
        assert!(error.contains("lists all"), "{error}");
    }
}
