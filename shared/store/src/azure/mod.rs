//! Azure Blob Storage, with the account's key, a shared access signature, or a Microsoft Entra identity.
//!
//! The first segment of a name is the container, created at the first put. Container names allow no underscore, so
//! `galaxy_catalog/` maps to `galaxy-catalog`.
//!
//! Create-if-absent is `If-None-Match: *`, which is atomic. The object's metadata holds the creator's id, so that a
//! retry after a lost response recognises its own object. Large objects are sent in blocks, which become visible when
//! the block list is committed.

mod client;
mod credentials;
mod identity;
mod list;
mod sign;

use std::sync::Arc;

use async_trait::async_trait;
use identity::Identity;
use shared::settings::{Reader, Setting, defaulted, secret, setting};
use shared::{Result, Secret};

use super::backend::{Backend, BackendSettings};
use super::location::{Location, Scheme};

pub(super) const SCHEME: Scheme = Scheme {
    source: "abfs",
    schemes: &["abfs", "abfss", "az"],
    name: "AZURE_ACCOUNT_NAME",
    form: "`abfs://ACCOUNT`",
    settings: SETTINGS,
    log_in: &[
        "AZURE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_MANAGED_IDENTITY",
        "AZURE_CLIENT_ID",
        "AZURE_TENANT_ID",
    ],
    read,
};

const SETTINGS: &[Setting] = &[
    setting("AZURE_ACCOUNT_NAME", "required with `abfs`", "name of the storage account"),
    secret("AZURE_ACCOUNT_KEY", "required without another log-in", "key of the storage account"),
    secret("AZURE_STORAGE_SAS_TOKEN", "none", "shared access signature, `sv=…&sig=…`"),
    setting(
        "AZURE_FEDERATED_TOKEN_FILE",
        "none",
        "file with the token of a workload identity; AKS sets it with AZURE_CLIENT_ID and AZURE_TENANT_ID",
    ),
    defaulted("AZURE_MANAGED_IDENTITY", "false", "`true` uses the managed identity of the machine"),
    setting(
        "AZURE_CLIENT_ID",
        "the machine's only identity",
        "client id of the identity; required with AZURE_FEDERATED_TOKEN_FILE",
    ),
    setting("AZURE_TENANT_ID", "required with AZURE_FEDERATED_TOKEN_FILE", "tenant of the identity"),
    defaulted(
        "AZURE_AUTHORITY_HOST",
        "https://login.microsoftonline.com",
        "URL that exchanges the token of a workload identity",
    ),
    defaulted(
        "AZURE_POD_IDENTITY_AUTHORITY_HOST",
        "http://169.254.169.254",
        "URL of the instance metadata service (IMDS) for managed identities",
    ),
    setting(
        "AZURE_STORAGE_ENDPOINT",
        "Azure",
        "URL of the account elsewhere, such as `http://127.0.0.1:10000/ACCOUNT`",
    ),
];

/// An account of Azure Blob Storage.
#[derive(Debug)]
struct AzureSettings {
    account: String,
    login: AzureLogin,
    /// Default: `https://ACCOUNT.blob.core.windows.net`.
    endpoint_url: Option<String>,
}

/// The authorisation of requests.
#[derive(Debug)]
enum AzureLogin {
    /// The account's key, in base64.
    Key(Secret),
    /// A shared access signature.
    Sas(Secret),
    /// A token.
    Identity(Identity),
}

fn read(settings: &mut Reader<'_>) -> Location {
    let (key, sas) = (settings.text("AZURE_ACCOUNT_KEY"), settings.text("AZURE_STORAGE_SAS_TOKEN"));
    let (client_id, tenant_id) = (settings.text("AZURE_CLIENT_ID"), settings.text("AZURE_TENANT_ID"));
    let token_file = settings.text("AZURE_FEDERATED_TOKEN_FILE");
    let (is_managed, imds) =
        (settings.flag("AZURE_MANAGED_IDENTITY"), settings.url("AZURE_POD_IDENTITY_AUTHORITY_HOST"));
    let authority = settings.url("AZURE_AUTHORITY_HOST");
    let login = match (key, sas, token_file) {
        (Some(key), ..) => AzureLogin::Key(Secret::new(key)),
        (None, Some(sas), _) => {
            if !sas.contains("sig=") {
                settings.problems.push("`AZURE_STORAGE_SAS_TOKEN`: expected a signature, `sv=…&sig=…`".to_owned());
            }
            AzureLogin::Sas(Secret::new(sas))
        }
        (None, None, Some(file)) => {
            let with = "AZURE_FEDERATED_TOKEN_FILE";
            let client_id = settings.required("AZURE_CLIENT_ID", with, "the identity's client id");
            let tenant_id = tenant_id.unwrap_or_else(|| settings.required("AZURE_TENANT_ID", with, "the tenant"));
            AzureLogin::Identity(Identity::Workload { authority, tenant_id, client_id, token_file: file.into() })
        }
        (None, None, None) => {
            if !is_managed {
                let purpose = "the storage account's key, or AZURE_STORAGE_SAS_TOKEN, AZURE_FEDERATED_TOKEN_FILE or \
                               AZURE_MANAGED_IDENTITY=true";
                settings.required("AZURE_ACCOUNT_KEY", "abfs", purpose);
            }
            AzureLogin::Identity(Identity::Managed { endpoint: imds, client_id })
        }
    };
    Location::new(AzureSettings {
        account: settings.required("AZURE_ACCOUNT_NAME", "abfs", "name of the storage account"),
        login,
        endpoint_url: settings.optional_url("AZURE_STORAGE_ENDPOINT"),
    })
}

#[async_trait]
impl BackendSettings for AzureSettings {
    async fn connect(&self) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(client::Azure::connect(self)?))
    }

    fn url(&self) -> String {
        format!("abfs://{}", self.account)
    }

    fn identity(&self) -> String {
        format!("{:?}", (self.url(), &self.endpoint_url))
    }
}
