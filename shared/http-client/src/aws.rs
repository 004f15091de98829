//! Configures the AWS SDK with the TLS library of all other clients, and calls a service that has no SDK here.

use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use reqwest::Url;
use shared::{Context, Error, Result};

use crate::{Answer, causes, client, failure, parse, read};

const FORM: &str = "application/x-www-form-urlencoded";
const TIMEOUT: Duration = Duration::from_secs(30);

/// The SDK's settings from the environment, a profile or a role. The SDK's default HTTP client would add a second
/// cryptographic library.
pub fn settings() -> ConfigLoader {
    let client = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    aws_config::defaults(BehaviorVersion::latest()).http_client(client)
}

/// Calls an action of a service that speaks AWS's query protocol, such as CloudFormation: a signed form, answered by XML
/// of at most `max_bytes`, whatever the status. The SDK of CloudFormation is as large as all others together, for one
/// call.
///
/// # Errors
/// Permanent, when the settings name no region or no log-in, and for a body above the limit; otherwise Retryable.
pub async fn query(sdk: &SdkConfig, service: &str, form: &[(&str, &str)], max_bytes: usize) -> Result<Answer> {
    let region = sdk.region().ok_or_else(|| Error::permanent("AWS: expected a region (AWS_REGION), found none"))?;
    let no_login = || Error::permanent("AWS: expected an access key, a profile or a role, found none");
    let provider = sdk.credentials_provider().ok_or_else(no_login)?;
    let credentials = provider
        .provide_credentials()
        .await
        .map_err(|error| Error::permanent(format!("AWS: expected a log-in: {}", causes(&error))))?;
    let suffix = if region.as_ref().starts_with("cn-") { ".cn" } else { "" };
    let endpoint = sdk.endpoint_url().map_or_else(
        || format!("https://{service}.{region}.amazonaws.com{suffix}/"),
        |url| format!("{}/", url.trim_end_matches('/')),
    );
    let url = parse(&endpoint)?;
    let body = encoded(form);
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region.as_ref())
        .name(service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .permanent("signature")?
        .into();
    let headers = [("content-type", FORM)];
    let signable =
        SignableRequest::new("POST", endpoint.as_str(), headers.into_iter(), SignableBody::Bytes(body.as_bytes()))
            .permanent("signature")?;
    let (signature, _) = sign(signable, &params).permanent("signature")?.into_parts();
    let mut request = client(|builder| builder.timeout(TIMEOUT))?.post(url).header("content-type", FORM);
    for (name, value) in signature.headers() {
        request = request.header(name, value);
    }
    let answer = request.body(body).send().await.map_err(|error| failure(error, &endpoint))?;
    let status = answer.status().as_u16();
    Ok(Answer { status, etag: None, retry_after: None, body: read(answer, max_bytes, &endpoint).await? })
}

/// Fields as a form.
fn encoded(form: &[(&str, &str)]) -> String {
    // The address is a place to write the form in.
    let Ok(mut url) = Url::parse("http://form/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(form);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_encoded_as_a_form() {
        let form = [("Action", "DescribeStacks"), ("StackName", "arn:aws:a/b c&d=é")];
        assert_eq!(encoded(&form), "Action=DescribeStacks&StackName=arn%3Aaws%3Aa%2Fb+c%26d%3D%C3%A9");
    }
}
