//! OpenStack Swift.
//!
//! Create-if-absent is `If-None-Match: *`. Swift checks it before the write, not atomically: several concurrent
//! creators may succeed, and the last one's object stays. So each stores its id in the object's metadata, waits, and
//! has created the object only if its id is still there. A write delayed longer than the wait is not detected; Swift
//! offers nothing stronger.

mod client;
mod login;

use std::sync::Arc;

use async_trait::async_trait;
use shared::settings::{Reader, Setting, defaulted, secret, setting};
use shared::{Result, Secret};

use super::backend::{Backend, BackendSettings};
use super::location::{Location, Scheme};

pub(super) const SCHEME: Scheme = Scheme {
    source: "swift",
    schemes: &["swift"],
    name: "OS_CONTAINER_NAME",
    form: "`swift://CONTAINER`",
    settings: SETTINGS,
    log_in: &[],
    read,
};

const SETTINGS: &[Setting] = &[
    setting("OS_AUTH_URL", "required with `swift`", "URL of Keystone v3, with or without `/v3`"),
    setting("OS_USERNAME", "required with `swift`", "user, or id of an application credential (32 hexadecimal digits)"),
    secret("OS_PASSWORD", "required with `swift`", "password of the user, or secret of the credential"),
    setting("OS_PROJECT_NAME", "required with a user", "project to log in to"),
    defaulted("OS_USER_DOMAIN_NAME", "Default", "domain of the user"),
    defaulted("OS_PROJECT_DOMAIN_NAME", "Default", "domain of the project"),
    defaulted("OS_CONTAINER_NAME", "gwtreasuremap", "the container of the `swift` store"),
    setting(
        "OS_STORAGE_URL",
        "Keystone's catalogue",
        "URL of the Swift account, or of Swift (`…/v1`); required with an application credential",
    ),
];

/// A container of OpenStack Swift, and the log-in at Keystone v3.
#[derive(Debug, Clone)]
struct SwiftSettings {
    /// With or without `/v3`.
    auth_url: String,
    /// A user's name, or the 32 hexadecimal digits of an application credential.
    username: String,
    /// The user's password, or the application credential's secret.
    password: Secret,
    /// Required with a user's name.
    project_name: Option<String>,
    user_domain_name: String,
    project_domain_name: String,
    container: String,
    /// None: from Keystone's catalogue.
    storage_url: Option<String>,
}

impl SwiftSettings {
    /// Whether the user's name is the id of an application credential.
    fn is_application_credential(&self) -> bool {
        self.username.len() == 32 && self.username.bytes().all(|b| b.is_ascii_hexdigit())
    }
}

fn read(settings: &mut Reader<'_>) -> Location {
    let swift = SwiftSettings {
        auth_url: settings.required("OS_AUTH_URL", "swift", "URL of Keystone v3"),
        username: settings.required("OS_USERNAME", "swift", "user, or id of an application credential"),
        password: Secret::new(settings.required(
            "OS_PASSWORD",
            "swift",
            "password of the user, or secret of the credential",
        )),
        project_name: settings.text("OS_PROJECT_NAME"),
        user_domain_name: settings.text("OS_USER_DOMAIN_NAME").unwrap_or_default(),
        project_domain_name: settings.text("OS_PROJECT_DOMAIN_NAME").unwrap_or_default(),
        container: settings.text("OS_CONTAINER_NAME").unwrap_or_default(),
        storage_url: settings.optional_url("OS_STORAGE_URL"),
    };
    if !swift.auth_url.is_empty() {
        settings.url("OS_AUTH_URL");
    }
    if swift.is_application_credential() {
        if swift.storage_url.is_none() {
            let why = "required with an application credential (an OS_USERNAME of 32 hexadecimal digits)";
            settings.problems.push(format!("`OS_STORAGE_URL`: {why}: URL of the Swift account"));
        }
    } else if swift.project_name.is_none() && !swift.username.is_empty() {
        let problem = "`OS_PROJECT_NAME`: required with a user's name: project to log in to";
        settings.problems.push(problem.to_owned());
    }
    if swift.container.contains('/') {
        settings.problem("OS_CONTAINER_NAME", "a name without `/`", &swift.container);
    }
    Location::new(swift)
}

#[async_trait]
impl BackendSettings for SwiftSettings {
    async fn connect(&self) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(client::Swift::connect(self)?))
    }

    fn url(&self) -> String {
        format!("swift://{}", self.container)
    }

    fn identity(&self) -> String {
        let keystone = self.auth_url.trim_end_matches('/').trim_end_matches("/v3");
        format!("{:?}", (self.url(), &self.storage_url, &self.project_name, keystone))
    }
}
