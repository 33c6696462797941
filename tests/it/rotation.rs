//! Rotation of a key, against a stand-in whose keys come and go as in a merchant's portal.

mod ages;
mod elsewhere;
mod killed;
mod load;
mod portal;
mod taken_back;
