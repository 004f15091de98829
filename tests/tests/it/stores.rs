//! Runs the conformance checks of `tests::conformance` on a folder and on real servers.

/// Defines a test per check for a back end.
macro_rules! conforms {
    ($backend:expr => $($check:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $check() {
                tests::conformance::$check(&$backend).await;
            }
        )*
    };
}

/// Defines a test per check that holds for every back end, and per listed check.
macro_rules! conforms_with {
    ($backend:expr => $($check:ident)*) => {
        crate::stores::conforms! {
            $backend =>
            reads_return_the_whole_object_or_nothing
            accepts_empty_objects
            puts_and_reads_9_mib
            streams_64_mib_and_rejects_a_wrong_length_or_md5
            accepts_unusual_names
            lists_are_complete_and_sorted_across_pages
            put_if_absent_succeeds_for_one_of_16_writers
            dry_run_reads_its_own_writes_and_writes_nothing
            $($check)*
        }
    };
}
pub(crate) use conforms;
pub(crate) use conforms_with;

mod folder {
    use tests::backend::Folders;

    super::conforms_with! {
        Folders::default() =>
        concurrently_annotated_alerts_are_linked
    }
}

mod ceph {
    use tests::ceph::Ceph;
    use tests::server::TestServer;

    super::conforms_with! {
        Ceph::shared() =>
        listing_a_missing_container_is_a_permanent_error
        requests_to_a_missing_container_are_permanent_errors
        wrong_credentials_are_permanent_errors_without_the_secret
        broken_connections_leave_no_partial_objects
        concurrently_annotated_alerts_are_linked
    }
}

mod s3s_fs {
    use tests::s3s::S3s;
    use tests::server::TestServer;

    // It creates missing buckets, and reports a missing bucket as a missing object.
    super::conforms_with! {
        S3s::shared() =>
        listing_a_missing_container_is_a_permanent_error
        wrong_credentials_are_permanent_errors_without_the_secret
        broken_connections_leave_no_partial_objects
        concurrently_annotated_alerts_are_linked
    }
}

mod azurite {
    use tests::azurite::Azurite;
    use tests::server::TestServer;

    // A missing container lists as empty, and is created by a write.
    super::conforms_with! {
        Azurite::shared() =>
        wrong_credentials_are_permanent_errors_without_the_secret
        broken_connections_leave_no_partial_objects
        concurrently_annotated_alerts_are_linked
    }
}

mod swift {
    use tests::server::TestServer;
    use tests::swift::Swift;

    super::conforms_with! {
        Swift::shared() =>
        listing_a_missing_container_is_a_permanent_error
        requests_to_a_missing_container_are_permanent_errors
        wrong_credentials_are_permanent_errors_without_the_secret
        broken_connections_leave_no_partial_objects
        concurrently_annotated_alerts_are_linked
    }

    // Separate servers, because it expires all tokens.
    super::conforms! { *Swift::own() => renews_an_expired_token_during_an_upload }
}
