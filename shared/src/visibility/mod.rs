//! What a spacecraft sees at a time; the answer is a MOC.
