//! What a store promises, kept by a folder and by real servers: see `tests::conformance`.

/// Makes a test of each check for a back end.
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

/// The same, of what holds for every back end, and of these checks.
macro_rules! conforms_with {
    ($backend:expr => $($check:ident)*) => {
        crate::stores::conforms! {
            $backend =>
            objects_are_whole_or_absent
            objects_may_be_empty
            objects_of_9_mib_are_put_at_once
            objects_of_64_mib_are_streams
            odd_names_are_names
            lists_of_more_than_a_page_are_complete
            one_of_sixteen_creates_a_name
            a_store_that_is_not_written_reads_what_it_would_have_written
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
        alerts_that_are_annotated_at_once_are_linked
    }
}

mod ceph {
    use tests::ceph::Ceph;
    use tests::server::TestServer;

    super::conforms_with! {
        Ceph::shared() =>
        a_missing_container_is_no_empty_list
        a_missing_container_is_no_missing_object
        wrong_credentials_are_permanent_and_never_shown
        a_connection_that_breaks_leaves_nothing_half_written
        alerts_that_are_annotated_at_once_are_linked
    }
}

mod s3s_fs {
    use tests::s3s::S3s;
    use tests::server::TestServer;

    // It makes the folder that a bucket is, and says of a missing bucket that the object is missing.
    super::conforms_with! {
        S3s::shared() =>
        a_missing_container_is_no_empty_list
        wrong_credentials_are_permanent_and_never_shown
        a_connection_that_breaks_leaves_nothing_half_written
        alerts_that_are_annotated_at_once_are_linked
    }
}

mod azurite {
    use tests::azurite::Azurite;
    use tests::server::TestServer;

    // A container that is missing is empty, and is made when it is written.
    super::conforms_with! {
        Azurite::shared() =>
        wrong_credentials_are_permanent_and_never_shown
        a_connection_that_breaks_leaves_nothing_half_written
        alerts_that_are_annotated_at_once_are_linked
    }
}

mod swift {
    use tests::server::TestServer;
    use tests::swift::Swift;

    super::conforms_with! {
        Swift::shared() =>
        a_missing_container_is_no_empty_list
        a_missing_container_is_no_missing_object
        wrong_credentials_are_permanent_and_never_shown
        a_connection_that_breaks_leaves_nothing_half_written
        alerts_that_are_annotated_at_once_are_linked
    }

    // Tokens that end would end for every test at these servers.
    super::conforms! { *Swift::own() => a_token_that_ends_in_the_middle_is_renewed }
}
