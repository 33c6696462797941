//! What lies beside segments: it tells others nothing, and is used while it fits.

use super::*;

#[test]
fn the_index_of_an_encrypted_log_tells_nothing_to_others() {
    let records: Vec<u16> = (0..60).collect();
    let folder = log_of(&records, 20, &secret());
    // The gate has no key: it leaves it to a search, which has one.
    drop(Indexer::start(folder.path()).unwrap());
    let wanted = Wanted { fields: vec![(Field::Integration, vec!["webshop".to_owned()])], ..Wanted::default() };
    let query = Query::new(wanted.clone());
    let shut = find(folder.path(), &query, How { by_index: true, threads: 1 }, None, |_| ControlFlow::Continue(()));
    assert!(shut.unwrap_err().hint().unwrap().contains("--identity"));
    assert!(indexes(folder.path()).is_empty());
    assert_eq!(found(folder.path(), &wanted, true), plainly(&records, &wanted));
    let made = indexes(folder.path());
    assert_eq!(made.len(), 2);
    for path in made {
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"age-encryption.org/v1") && memchr::memmem::find(&bytes, b"webshop").is_none());
    }
    // Without the identity it is of no use, and in nobody's way.
    let shut = find(folder.path(), &query, How { by_index: true, threads: 1 }, None, |_| ControlFlow::Continue(()));
    assert!(shut.is_err());
}

/// Which files the indexes are: one that is made anew is another file.
fn files(folder: &Path) -> Vec<u64> {
    indexes(folder).iter().map(|path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap())).collect()
}

#[test]
fn an_index_that_is_there_is_used_whatever_form_its_segment_has() {
    let records: Vec<u16> = (0..60).collect();
    let wanted = Wanted { fields: vec![(Field::Integration, vec!["wms".to_owned()])], ..Wanted::default() };
    for readers in [plain(), secret()] {
        let folder = log_of(&records, 20, &readers);
        for seal in [false, true] {
            if seal {
                assert_eq!(crate::audit::seal_all(folder.path()).unwrap(), 2);
            }
            assert_eq!(found(folder.path(), &wanted, true), plainly(&records, &wanted));
            let made = files(folder.path());
            assert_eq!(made.len(), 2);
            assert_eq!(found(folder.path(), &wanted, true), plainly(&records, &wanted));
            assert_eq!(files(folder.path()), made, "made anew although nothing had changed; sealed: {seal}");
        }
    }
}
