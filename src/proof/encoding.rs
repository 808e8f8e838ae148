//! The bytes that are sealed and signed: each field is told from its neighbours by its length, so that
//! no two different records or checkpoints have the same bytes. Never JSON text, which has many spellings.

/// Collects the bytes.
pub(super) struct Encoder<'a>(pub(super) &'a mut Vec<u8>);

impl Encoder<'_> {
    /// Bytes of a fixed length.
    pub(super) fn fixed(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes of any length, after their length.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).fixed(bytes)
    }

    /// A number, in eight bytes.
    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.fixed(&number.to_be_bytes())
    }

    /// What may be absent: absence is not the same as an empty value.
    pub(super) fn optional<T>(&mut self, value: Option<T>, encode: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.fixed(&[u8::from(value.is_some())]);
        if let Some(value) = value {
            encode(self, value);
        }
        self
    }

    /// Text that may be absent.
    pub(super) fn text(&mut self, text: Option<&str>) -> &mut Self {
        self.optional(text, |encoder, text| {
            encoder.bytes(text.as_bytes());
        })
    }
}
