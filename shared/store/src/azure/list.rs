//! Azure's XML lists and errors.

use percent_encoding::percent_decode_str;
use roxmltree::{Document, Node};
use shared::{Context, Error, Result};

use super::super::http::time;
use super::super::{Head, Listed, Md5};

/// A page of a list of containers or objects.
#[derive(Debug, Default)]
pub(super) struct ListPage {
    pub containers: Vec<String>,
    pub blobs: Vec<Blob>,
    /// The marker of the next page.
    pub next: Option<String>,
}

/// An object in a list. The name is relative to its container, or the decoding error.
#[derive(Debug)]
pub(super) struct Blob {
    name: Result<String>,
    head: Head,
    is_folder: bool,
}

impl ListPage {
    pub fn read(body: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(body).permanent("expected XML")?;
        let document = Document::parse(text.trim_start_matches('\u{feff}')).permanent("expected XML")?;
        let root = document.root_element();
        let named = |name: &'static str| root.descendants().filter(move |node| node.has_tag_name(name));
        Ok(ListPage {
            containers: named("Container").filter_map(|node| child(node, "Name")).map(str::to_owned).collect(),
            blobs: named("Blob").filter_map(Blob::read).collect(),
            next: child(root, "NextMarker").filter(|marker| !marker.is_empty()).map(str::to_owned),
        })
    }
}

impl Blob {
    fn read(node: Node<'_, '_>) -> Option<Self> {
        let name = node.children().find(|node| node.has_tag_name("Name"))?;
        let text = name.text().unwrap_or_default();
        // Names with characters invalid in XML are percent-encoded.
        let name = if name.attribute("Encoded") == Some("true") {
            percent_decode_str(text)
                .decode_utf8()
                .map(|name| name.into_owned())
                .map_err(|_| Error::permanent(format!("object name `{text}`: expected UTF-8")))
        } else {
            Ok(text.to_owned())
        };
        let properties = node.children().find(|node| node.has_tag_name("Properties"))?;
        let property = |name: &str| child(properties, name);
        let head = Head {
            size: property("Content-Length").and_then(|size| size.parse().ok()).unwrap_or_default(),
            modified: property("Last-Modified").and_then(time),
            md5: property("Content-MD5").and_then(Md5::from_base64),
            etag: property("Etag").map(str::to_owned),
        };
        // A hierarchical namespace (ADLS Gen2) lists directories like objects. Newer API versions mark them with a
        // resource type; older ones, AzCopy and ABFS drivers with metadata.
        let metadata = node.children().find(|node| node.has_tag_name("Metadata"));
        let has_folder_metadata = metadata.into_iter().flat_map(|node| node.children()).any(|node| {
            node.tag_name().name().eq_ignore_ascii_case("hdi_isfolder")
                && node.text().is_some_and(|text| text.trim().eq_ignore_ascii_case("true"))
        });
        let is_folder =
            has_folder_metadata || property("ResourceType").is_some_and(|kind| kind.eq_ignore_ascii_case("directory"));
        Some(Blob { name, head, is_folder })
    }

    /// Converts to an entry of the store, named `first/…`.
    pub fn listed(self, first: &str) -> Listed {
        Listed::new(self.name.map(|name| format!("{first}/{name}")), self.head, self.is_folder)
    }
}

/// The message of an error body, without its details about the signature.
pub(super) fn message(body: &str) -> String {
    let inside = |tag: &str| {
        let (_, rest) = body.split_once(&format!("<{tag}>"))?;
        Some(rest.split("</").next().unwrap_or(rest))
    };
    inside("Message").unwrap_or(body).split(" RequestId:").next().unwrap_or_default().to_owned()
}

fn child<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.children().find(|node| node.has_tag_name(name)).map(|node| node.text().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::super::EntryKind;
    use super::*;
    use shared::key::Key;

    /// The shape of <https://learn.microsoft.com/rest/api/storageservices/list-blobs>.
    #[test]
    fn parses_a_page_of_objects() {
        let page = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ContainerName=\"fit\">\
            <Blobs><Blob><Name>a &amp; b.json</Name><Properties>\
            <Last-Modified>Sun, 06 Nov 1994 08:49:37 GMT</Last-Modified><Etag>0x1</Etag>\
            <Content-Length>3</Content-Length><Content-MD5>rL0Y20zC+Fzt72VPzMSk2A==</Content-MD5></Properties></Blob>\
            <Blob><Name Encoded=\"true\">a%EF%BF%BE%0A</Name><Properties><Content-Length>1</Content-Length>\
            <Content-MD5 /></Properties></Blob></Blobs><NextMarker>2!x</NextMarker></EnumerationResults>";
        let page = ListPage::read(page.as_bytes()).expect("a page");
        assert_eq!((page.next.as_deref(), page.containers.len()), (Some("2!x"), 0));
        let listed: Vec<Listed> = page.blobs.into_iter().map(|blob| blob.listed("fit")).collect();
        assert_eq!(listed[0].key, Key::new("fit/a & b.json"));
        assert_eq!(listed[0].head.modified, "1994-11-06T08:49:37Z".parse().ok());
        // printf foo | md5sum
        assert_eq!(listed[0].head.md5.map(|md5| md5.to_string()).as_deref(), Some("acbd18db4cc2f85cedef654fccc4a4d8"));
        assert!(listed[1].key.as_ref().is_err_and(|error| error.to_string().contains("control character")));
        assert!(ListPage::read(b"<html>").is_err());
    }

    #[test]
    fn lists_directories_as_folder_markers() {
        let blob = |name: &str, size: u64, more: &str, metadata: &str| {
            format!(
                "<Blob><Name>{name}</Name><Properties><Content-Length>{size}</Content-Length>{more}</Properties>{metadata}</Blob>"
            )
        };
        let page = [
            blob("a", 0, "<ResourceType>directory</ResourceType>", ""),
            blob("b", 0, "", "<Metadata><hdi_isfolder>true</hdi_isfolder></Metadata>"),
            blob("c", 0, "", "<Metadata><Hdi_isfolder>True</Hdi_isfolder><x>1</x></Metadata>"),
            blob("d/", 0, "", ""),
            blob("e_$folder$", 0, "", "<Metadata />"),
            blob(
                "f",
                0,
                "<ResourceType>file</ResourceType>",
                "<Metadata><hdi_isfolder>false</hdi_isfolder></Metadata>",
            ),
            blob("g", 0, "", ""),
        ];
        let page = format!("<EnumerationResults><Blobs>{}</Blobs><NextMarker /></EnumerationResults>", page.concat());
        let page = ListPage::read(page.as_bytes()).expect("a page");
        let kinds: Vec<EntryKind> = page.blobs.into_iter().map(|blob| blob.listed("fit").kind).collect();
        assert_eq!(kinds[..5], [EntryKind::FolderMarker; 5]);
        assert_eq!(kinds[5..], [EntryKind::Object; 2]);
    }

    #[test]
    fn extracts_the_message_of_an_error() {
        let body = "<?xml version=\"1.0\"?><Error><Code>X</Code><Message>Server failed. RequestId:1 Time:2</Message>\
                    <AuthenticationErrorDetail>signed</AuthenticationErrorDetail></Error>";
        assert_eq!(message(body), "Server failed.");
        assert_eq!(message("plain"), "plain");
    }
}
