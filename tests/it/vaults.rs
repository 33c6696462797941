//! Vaults: one contract that every kind keeps, against a real server, real files and a real helper program; what each kind
//! has of its own; and a running gate before each.

mod contract;
pub mod directory;
mod document;
pub mod exec;
pub mod gate;
mod narrowest;
mod openbao;
mod start;
