//! S3 and servers that speak its protocol. Create-if-absent is `If-None-Match: *`, atomic on AWS and on Ceph.

use std::ops::Range;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::{Head, MAX_OBJECT_BYTES};
use crate::key::Key;
use crate::{Error, Result};

#[derive(Debug, Clone)]
pub(super) struct S3 {
    client: Client,
    bucket: String,
}

impl S3 {
    pub(super) async fn open(bucket: String, region: String, endpoint_url: Option<String>) -> Self {
        let mut settings = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region))
            .retry_config(RetryConfig::standard().with_max_attempts(5))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(5))
                    .read_timeout(Duration::from_secs(30))
                    .operation_timeout(Duration::from_secs(300))
                    .build(),
            );
        if let Some(url) = &endpoint_url {
            settings = settings.endpoint_url(url);
        }
        let settings = settings.load().await;
        let config = aws_sdk_s3::config::Builder::from(&settings)
            .force_path_style(endpoint_url.is_some())
            // Servers other than AWS refuse the checksum trailers that the SDK sends by default.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        S3 { client: Client::from_conf(config), bucket }
    }

    pub(super) async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.fetch(key, None).await
    }

    pub(super) async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Bytes>> {
        if range.is_empty() {
            return Ok(self.head(key).await?.map(|_| Bytes::new()));
        }
        self.fetch(key, Some(format!("bytes={}-{}", range.start, range.end - 1))).await
    }

    async fn fetch(&self, key: &Key, range: Option<String>) -> Result<Option<Bytes>> {
        let ranged = range.is_some();
        let answer = self.client.get_object().bucket(&self.bucket).key(key.as_str()).set_range(range).send().await;
        let object = match answer {
            Ok(object) => object,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) if ranged && error.code() == Some("InvalidRange") => return Ok(Some(Bytes::new())),
            Err(error) => return Err(self.failure(key.as_str(), &error)),
        };
        let size = object.content_length().unwrap_or_default();
        if u64::try_from(size).unwrap_or_default() > MAX_OBJECT_BYTES {
            return Err(Error::permanent(format!(
                "object `{key}`: expected at most {MAX_OBJECT_BYTES} bytes, found {size}"
            )));
        }
        let bytes = object.body.collect().await.map_err(|error| {
            Error::retryable(format!("object `{key}` in bucket `{}`: the answer broke off: {error}", self.bucket))
        })?;
        Ok(Some(bytes.into_bytes()))
    }

    pub(super) async fn put(&self, key: &Key, bytes: Bytes) -> Result<()> {
        self.store(key, bytes, false).await.map(|_| ())
    }

    pub(super) async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        self.store(key, bytes, true).await
    }

    async fn store(&self, key: &Key, bytes: Bytes, only_if_absent: bool) -> Result<bool> {
        let answer = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .content_type(key.content_type())
            .set_if_none_match(only_if_absent.then(|| "*".to_owned()))
            .body(ByteStream::from(bytes))
            .send()
            .await;
        match answer {
            Ok(_) => Ok(true),
            Err(error) if only_if_absent && error.code() == Some("PreconditionFailed") => Ok(false),
            // Another writer of the same name is at it: who won is known once it has finished.
            Err(error) if only_if_absent && error.code() == Some("ConditionalRequestConflict") => Err(
                Error::retryable(format!("object `{key}` in bucket `{}`: another writer is creating it", self.bucket)),
            ),
            Err(error) => Err(self.failure(key.as_str(), &error)),
        }
    }

    pub(super) async fn head(&self, key: &Key) -> Result<Option<Head>> {
        match self.client.head_object().bucket(&self.bucket).key(key.as_str()).send().await {
            Ok(head) => {
                Ok(Some(Head { size: head.content_length().and_then(|size| size.try_into().ok()).unwrap_or_default() }))
            }
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => Ok(None),
            Err(error) => Err(self.failure(key.as_str(), &error)),
        }
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        let mut pages = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failure(prefix, &error))?;
            // Names that are no keys (`folder/`) were made by others and are never ours.
            keys.extend(page.contents().iter().filter_map(|object| Key::new(object.key()?).ok()));
        }
        Ok(keys)
    }

    fn failure<E>(&self, name: &str, error: &SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let message = format!("object `{name}` in bucket `{}`: {}", self.bucket, DisplayErrorContext(error));
        let status = error.raw_response().map(|response| response.status().as_u16());
        // Refused for what it is; busy, throttled, conflicting or expired requests are refused for the moment.
        let refused = status
            .is_some_and(|status| (400..500).contains(&status) && ![408, 409, 425, 429].contains(&status))
            && !matches!(
                error.code(),
                Some("RequestTimeTooSkewed" | "ExpiredToken" | "RequestTimeout" | "TokenRefreshRequired")
            );
        let permanent = refused
            || matches!(error.code(), Some("NoSuchBucket" | "PermanentRedirect"))
            || matches!(error, SdkError::ConstructionFailure(_));
        if permanent { Error::permanent(message) } else { Error::retryable(message) }
    }
}
