//! An error with its causes, in one line: for records, metrics and logs. People at a terminal get a line for each (`cli::report`).

use std::error::Error;

/// What went wrong and why. A cause whose words stand there already, as libraries like to repeat them, is told once.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(why) = cause {
        let more = why.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = why.source();
    }
    text
}
