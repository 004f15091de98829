//! The S3 client, on AWS's SDK.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, EncodingType, ServerSideEncryption};
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use http_client::causes;
use jiff::Timestamp;
use md5::Digest;
use percent_encoding::percent_decode_str;
use shared::key::Key;
use shared::{Error, Result};

use super::super::backend::{Backend, CREATE_RACE, SINGLE_PUT_BYTES, writer_id};
use super::super::object::{Head, Listed, Md5, ObjectStream};
use super::super::stream::part;
use super::S3Settings;

/// S3's maximum number of parts per upload.
const MAX_PARTS: u64 = 10_000;
/// The metadata with the object's MD5 in base64.
const MD5_METADATA: &str = "md5chksum";
/// The metadata with the creator's id.
const WRITER_METADATA: &str = "writer";

#[derive(Debug, Clone)]
pub(super) struct S3 {
    client: Client,
    bucket: String,
    region: String,
    /// Whether the server is AWS.
    is_aws: bool,
    /// Whether the bucket is known to exist. Until then a missing object may mean a missing bucket.
    bucket_exists: Arc<AtomicBool>,
}

impl S3 {
    pub(super) async fn connect(settings: S3Settings) -> Self {
        let S3Settings { bucket, region, endpoint_url, credentials } = settings;
        let mut loader = http_client::aws::settings()
            .region(Region::new(region.clone()))
            .retry_config(RetryConfig::standard().with_max_attempts(5))
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_secs(5))
                    .read_timeout(Duration::from_secs(30))
                    .operation_timeout(Duration::from_secs(300))
                    .build(),
            );
        if let Some(url) = &endpoint_url {
            loader = loader.endpoint_url(url);
        }
        if let Some(key) = credentials {
            let token = key.session_token.as_ref().map(|token| token.reveal().to_owned());
            let secret = key.secret_access_key.reveal();
            loader =
                loader.credentials_provider(Credentials::new(key.access_key_id, secret, token, None, "the settings"));
        }
        let config = aws_sdk_s3::config::Builder::from(&loader.load().await)
            .force_path_style(endpoint_url.is_some())
            // Other servers reject the checksum trailers that the SDK sends by default.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        let is_aws = endpoint_url.is_none_or(|url| url.contains(".amazonaws.com"));
        S3 { client: Client::from_conf(config), bucket, region, is_aws, bucket_exists: Arc::default() }
    }

    fn write(&self, key: &Key, bytes: Bytes) -> PutObjectFluentBuilder {
        let request = self.client.put_object().bucket(&self.bucket).key(key.as_str());
        request.content_type(key.content_type()).body(ByteStream::from(bytes))
    }

    async fn parts(&self, key: &Key, id: &str, content: ObjectStream) -> Result<Option<Md5>> {
        let part_bytes = SINGLE_PUT_BYTES.max(content.head.size.div_ceil(MAX_PARTS));
        let part_bytes = usize::try_from(part_bytes).unwrap_or(usize::MAX);
        let (mut chunks, mut rest, mut parts) = (content.chunks, BytesMut::new(), Vec::new());
        let (mut whole, mut of_parts) = (md5::Md5::new(), md5::Md5::new());
        while let Some(bytes) = part(&mut chunks, &mut rest, part_bytes).await? {
            whole.update(&bytes);
            of_parts.update(md5::Md5::digest(&bytes));
            let number = i32::try_from(parts.len() + 1).unwrap_or(i32::MAX);
            let answer = self
                .client
                .upload_part()
                .bucket(&self.bucket)
                .key(key.as_str())
                .upload_id(id)
                .part_number(number)
                .body(ByteStream::from(bytes))
                .send()
                .await
                .map_err(|error| self.failure(key.as_str(), &error))?;
            parts.push(CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag).build());
        }
        // S3's ETag of a multipart upload, unless it is encrypted: proof that the parts arrived intact.
        let etag = format!("{}-{}", Md5(of_parts.finalize().into()), parts.len());
        let is_ours = |found: Option<&str>| found.is_some_and(|found| found.trim_matches('"') == etag);
        let whole = Md5(whole.finalize().into());
        let answer = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(key.as_str())
            .upload_id(id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(is_ours(answer.e_tag()).then_some(whole)),
            // The upload may have completed with its response lost: compare the stored object.
            Err(error) => match self.head(key).await {
                Ok(Some(head)) if is_ours(head.etag.as_deref()) => Ok(Some(whole)),
                _ => Err(self.failure(key.as_str(), &error)),
            },
        }
    }

    /// After a missing object: fails when the bucket is missing.
    async fn check_bucket(&self) -> Result<()> {
        if self.bucket_exists.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.client.head_bucket().bucket(&self.bucket).send().await {
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => {
                return Err(self.no_bucket());
            }
            Err(error) if error.raw_response().is_some_and(|response| response.status().as_u16() == 404) => {
                return Err(self.no_bucket());
            }
            // Permission to read objects does not imply permission to head the bucket.
            Err(error) if error.raw_response().is_some_and(|response| response.status().is_client_error()) => {}
            Err(error) => return Err(self.failure("", &error)),
            Ok(_) => {}
        }
        self.bucket_exists.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn no_bucket(&self) -> Error {
        Error::permanent(format!("bucket `{}`: expected it on the server, found none (AWS_BUCKET)", self.bucket))
    }

    /// The object's name in errors.
    fn object(&self, key: &Key) -> String {
        format!("object `{key}` in bucket `{}`", self.bucket)
    }

    fn failure<E>(&self, name: &str, error: &SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let code = error.code();
        if code == Some("NoSuchBucket") {
            return self.no_bucket();
        }
        let mut message = format!("object `{name}` in bucket `{}`: ", self.bucket);
        let region = error.raw_response().and_then(|response| response.headers().get("x-amz-bucket-region"));
        match code {
            Some("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "InvalidClientTokenId") => {
                message
                    .push_str("the access key or its secret was rejected (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY): ");
            }
            Some("AccessDenied" | "AllAccessDisabled" | "AccountProblem") => {
                message.push_str("the access key is not allowed to do this: ");
            }
            Some("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                let expected = region.map_or_else(|| "the bucket's".to_owned(), |region| format!("`{region}`"));
                message.push_str(&format!(
                    "expected the region {expected}, found `{}` (AWS_DEFAULT_REGION): ",
                    self.region
                ));
            }
            _ if no_credentials(error) => message.push_str(
                "no credentials: expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role: ",
            ),
            _ => {}
        }
        let status = error.raw_response().map(|response| response.status().as_u16());
        match (status, code) {
            (Some(status), Some(code)) => {
                message.push_str(&format!("{status} {code}: {}", error.message().unwrap_or_default()));
            }
            (Some(status), None) => message.push_str(&format!("{status}: {}", causes(error))),
            _ => message.push_str(&causes(error)),
        }
        // Busy, throttled, conflicting and expired requests are Retryable.
        let rejected = status
            .is_some_and(|status| (300..500).contains(&status) && ![408, 409, 425, 429].contains(&status))
            && !matches!(
                code,
                Some("RequestTimeTooSkewed" | "ExpiredToken" | "RequestTimeout" | "TokenRefreshRequired")
            );
        let permanent = rejected
            || code == Some("PermanentRedirect")
            || matches!(error, SdkError::ConstructionFailure(_))
            || no_credentials(error);
        if permanent { Error::permanent(message) } else { Error::retryable(message) }
    }
}

#[async_trait]
impl Backend for S3 {
    async fn open(&self, key: &Key, range: Option<Range<u64>>, etag: Option<&str>) -> Result<Option<ObjectStream>> {
        let ranged = range.is_some();
        let answer = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .set_range(range.map(|range| format!("bytes={}-{}", range.start, range.end - 1)))
            .set_if_match(etag.map(str::to_owned))
            .send()
            .await;
        let object = match answer {
            Ok(object) => object,
            Err(error) if error.code() == Some("NoSuchKey") => return self.check_bucket().await.map(|()| None),
            Err(error) if ranged && error.code() == Some("InvalidRange") => {
                return Ok(Some(ObjectStream { head: Head::default(), chunks: stream::empty().boxed() }));
            }
            Err(error) if etag.is_some() && error.code() == Some("PreconditionFailed") => {
                return Err(Error::retryable(format!("{}: changed while being read", self.object(key))));
            }
            Err(error) => return Err(self.failure(key.as_str(), &error)),
        };
        self.bucket_exists.store(true, Ordering::Relaxed);
        let etag = object.e_tag.clone();
        let md5 = md5(etag.as_deref(), object.metadata(), object.server_side_encryption());
        let head = Head {
            size: bytes(object.content_length()),
            modified: object.last_modified().and_then(timestamp),
            md5: md5.filter(|_| !ranged),
            etag,
        };
        let name = self.object(key);
        let chunks = stream::unfold(object.body, |mut body| async { Some((body.next().await?, body)) });
        let chunks =
            chunks.map_err(move |error| Error::retryable(format!("{name}: the response was cut off")).caused_by(error));
        Ok(Some(ObjectStream { head, chunks: chunks.boxed() }))
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<Option<Md5>> {
        match self.write(key, bytes).send().await {
            Ok(answer) => Ok(md5(answer.e_tag(), None, answer.server_side_encryption())),
            Err(error) => Err(self.failure(key.as_str(), &error)),
        }
    }

    async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        let writer = writer_id();
        match self.write(key, bytes).if_none_match("*").metadata(WRITER_METADATA, &writer).send().await {
            Ok(_) if self.is_aws => return Ok(true),
            Ok(_) => tokio::time::sleep(CREATE_RACE).await,
            // May be this writer's own object, if the response to an earlier attempt was lost.
            Err(error) if error.code() == Some("PreconditionFailed") => {}
            // A concurrent writer has not finished, so the winner is not known yet.
            Err(error) if error.code() == Some("ConditionalRequestConflict") => {
                return Err(Error::retryable(format!("{}: another writer is creating it", self.object(key))));
            }
            Err(error) => return Err(self.failure(key.as_str(), &error)),
        }
        match self.client.head_object().bucket(&self.bucket).key(key.as_str()).send().await {
            Ok(found) => Ok(found.metadata().and_then(|metadata| metadata.get(WRITER_METADATA)) == Some(&writer)),
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => Ok(false),
            Err(error) => Err(self.failure(key.as_str(), &error)),
        }
    }

    async fn put_stream(&self, key: &Key, content: ObjectStream) -> Result<Option<Md5>> {
        let upload = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(key.as_str())
            .content_type(key.content_type())
            .set_metadata(content.head.md5.map(|md5| [(MD5_METADATA.to_owned(), md5.to_base64())].into()))
            .send()
            .await
            .map_err(|error| self.failure(key.as_str(), &error))?;
        let id = upload.upload_id().unwrap_or_default();
        let outcome = self.parts(key, id, content).await;
        if outcome.is_err() {
            // Otherwise S3 keeps, and bills, the parts. Returns the first error, not this one.
            let aborted =
                self.client.abort_multipart_upload().bucket(&self.bucket).key(key.as_str()).upload_id(id).send().await;
            if let Err(error) = aborted {
                let error = self.failure(key.as_str(), &error);
                tracing::warn!(object_key = %key, %error, "could not abort a failed upload");
            }
        }
        outcome
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>> {
        match self.client.head_object().bucket(&self.bucket).key(key.as_str()).send().await {
            Ok(head) => {
                self.bucket_exists.store(true, Ordering::Relaxed);
                Ok(Some(Head {
                    size: bytes(head.content_length()),
                    modified: head.last_modified().and_then(timestamp),
                    md5: md5(head.e_tag(), head.metadata(), head.server_side_encryption()),
                    etag: head.e_tag,
                }))
            }
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => {
                self.check_bucket().await.map(|()| None)
            }
            // A HEAD response has no body with the reason.
            Err(error) if error.raw_response().is_some_and(|response| !response.status().is_server_error()) => {
                match self.open(key, Some(0..1), None).await {
                    Err(reason) => Err(reason),
                    Ok(_) => Err(self.failure(key.as_str(), &error)),
                }
            }
            Err(error) => Err(self.failure(key.as_str(), &error)),
        }
    }

    async fn delete(&self, key: &Key) -> Result<bool> {
        // DELETE does not report whether the object existed.
        let existed = self.head(key).await?.is_some();
        if existed {
            let deleted = self.client.delete_object().bucket(&self.bucket).key(key.as_str()).send().await;
            deleted.map_err(|error| self.failure(key.as_str(), &error))?;
        }
        Ok(existed)
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        let pages = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            // Names may contain characters invalid in XML.
            .encoding_type(EncodingType::Url)
            .into_paginator()
            .send();
        let (store, prefix) = (self.clone(), prefix.to_owned());
        stream::unfold(pages, |mut pages| async { Some((pages.next().await?, pages)) })
            .map(move |page| {
                let page = page.map_err(|error| store.failure(&prefix, &error))?;
                let encoded = page.encoding_type() == Some(&EncodingType::Url);
                let listed = page.contents.unwrap_or_default().into_iter().map(move |object| {
                    let name = object.key.unwrap_or_default();
                    let head = Head {
                        size: bytes(object.size),
                        modified: object.last_modified.as_ref().and_then(timestamp),
                        md5: object.e_tag.as_deref().and_then(Md5::from_hex),
                        etag: object.e_tag,
                    };
                    Ok(Listed::new(if encoded { decoded(&name) } else { Ok(name) }, head, false))
                });
                Ok::<_, Error>(stream::iter(listed))
            })
            .try_flatten()
            .boxed()
    }
}

/// Whether the error means that the SDK found no credentials.
fn no_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(error.downcast_ref(), Some(CredentialsError::CredentialsNotLoaded(_))) {
            return true;
        }
        next = error.source();
    }
    false
}

/// The object's MD5: from its metadata, or its ETag unless it is encrypted or a multipart upload.
fn md5(
    etag: Option<&str>,
    metadata: Option<&HashMap<String, String>>,
    encryption: Option<&ServerSideEncryption>,
) -> Option<Md5> {
    let from_metadata = metadata.and_then(|metadata| Md5::from_base64(metadata.get(MD5_METADATA)?));
    let plain = matches!(encryption, None | Some(ServerSideEncryption::Aes256));
    from_metadata.or_else(|| Md5::from_hex(etag?).filter(|_| plain))
}

fn bytes(length: Option<i64>) -> u64 {
    length.and_then(|length| length.try_into().ok()).unwrap_or_default()
}

fn timestamp(time: &DateTime) -> Option<Timestamp> {
    Timestamp::new(time.secs(), i32::try_from(time.subsec_nanos()).ok()?).ok()
}

/// Decodes a name of `encoding-type=url`, where `+` is a space.
fn decoded(name: &str) -> Result<String> {
    let name = name.replace('+', " ");
    match percent_decode_str(&name).decode_utf8() {
        Ok(name) => Ok(name.into_owned()),
        Err(_) => Err(Error::permanent(format!("object name `{name}`: expected UTF-8"))),
    }
}
