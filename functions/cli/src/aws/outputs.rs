//! What CloudFormation says of a stack.

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use roxmltree::{Document, Node};
use shared::{Context, Error, Result};

/// The largest description of a stack [bytes]; AWS allows 200 outputs and parameters of 4 kB.
const MAX_BYTES: usize = 4 << 20;

/// A stack's status, outputs and parameters.
type Described = (String, BTreeMap<String, String>, BTreeMap<String, String>);

/// Asks CloudFormation for a stack, by its name.
///
/// # Errors
/// Permanent, when there is none or it may not be read; Retryable, when CloudFormation does not answer.
pub(super) async fn read(sdk: &SdkConfig, name: &str) -> Result<Described> {
    let form = [("Action", "DescribeStacks"), ("Version", "2010-05-15"), ("StackName", name)];
    let answer = http_client::aws::query(sdk, "cloudformation", &form, MAX_BYTES).await;
    let of = |error: Error| error.of(format_args!("stack `{name}`"));
    let answer = answer.map_err(of)?;
    parsed(answer.status, &String::from_utf8_lossy(&answer.body)).map_err(of)
}

fn parsed(status: u16, text: &str) -> Result<Described> {
    let document = Document::parse(text).permanent(format_args!("answer of CloudFormation, status {status}"))?;
    let first = |name: &str| document.descendants().find(|node| node.has_tag_name(name));
    if status != 200 {
        let said = |name: &str| first(name).and_then(|node| node.text()).unwrap_or("?").to_owned();
        let message = format!("expected its description, found status {status}, {}: {}", said("Code"), said("Message"));
        return Err(Error::new(http_client::class(status), message));
    }
    let pairs = |list: &str, key: &str, value: &str| -> BTreeMap<String, String> {
        let members = first(list).into_iter().flat_map(|list| list.children());
        members.filter_map(|member| Some((child(member, key)?, child(member, value).unwrap_or_default()))).collect()
    };
    let status = first("StackStatus").and_then(|node| node.text()).unwrap_or("?").to_owned();
    let outputs = pairs("Outputs", "OutputKey", "OutputValue");
    Ok((status, outputs, pairs("Parameters", "ParameterKey", "ParameterValue")))
}

/// The text of a node's child.
fn child(node: Node<'_, '_>, name: &str) -> Option<String> {
    let found = node.children().find(|child| child.has_tag_name(name))?;
    Some(found.text().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the API reference, shortened
    /// (<https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html>).
    const DESCRIBED: &str = r#"<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/">
  <DescribeStacksResult><Stacks><member>
    <StackName>MyStack</StackName><StackStatus>CREATE_COMPLETE</StackStatus>
    <Parameters><member><ParameterValue>s3</ParameterValue><ParameterKey>StorageBackend</ParameterKey></member>
      <member><ParameterKey>ApiBase</ParameterKey><ParameterValue/></member></Parameters>
    <Outputs><member><Description>d</Description><OutputKey>BucketName</OutputKey><OutputValue>b</OutputValue></member></Outputs>
  </member></Stacks></DescribeStacksResult></DescribeStacksResponse>"#;

    #[test]
    fn outputs_and_parameters_are_read() {
        let (status, outputs, parameters) = parsed(200, DESCRIBED).expect("a stack");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!((status.as_str(), outputs), ("CREATE_COMPLETE", [pair("BucketName", "b")].into()));
        assert_eq!(parameters, [pair("ApiBase", ""), pair("StorageBackend", "s3")].into());
    }

    #[test]
    fn a_refusal_says_why() {
        let refusal = r#"<ErrorResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><Error><Type>Sender</Type>
            <Code>ValidationError</Code><Message>Stack with id gwtm does not exist</Message></Error></ErrorResponse>"#;
        let error = parsed(400, refusal).expect_err("no stack");
        assert!(!error.is_retryable() && error.to_string().contains("ValidationError: Stack with id gwtm"), "{error}");
        assert!(parsed(503, refusal).expect_err("no answer").is_retryable());
        assert!(parsed(200, "no XML").is_err());
    }
}
