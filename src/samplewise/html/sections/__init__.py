"""The sections of the report, one module each: facts in, blocks of text, tables and pictures out."""
