//! Apache Parquet: one file for a part, in groups of rows, so that memory stays flat.

use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type as Schema, TypePtr};

use super::row::{COLUMNS, Cell, Column, Row, Type};

/// Rows in a group. What a group holds lies in memory until it is full.
const GROUP: usize = 16 * 1024;

/// A file that is being made.
pub(super) struct Parquet {
    writer: SerializedFileWriter<Vec<u8>>,
    columns: Vec<Values>,
    rows: usize,
}

/// The values of a column: those that there are, and for each row whether there is one.
struct Values {
    there: Vec<i16>,
    values: Kept,
}

enum Kept {
    Text(Vec<ByteArray>),
    Numbers(Vec<i64>),
    Flags(Vec<bool>),
}

impl Parquet {
    pub(super) fn new() -> Result<Self, ParquetError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(parquet::basic::ZstdLevel::default()))
            .set_created_by(concat!("keygate ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer = SerializedFileWriter::new(Vec::new(), schema()?, Arc::new(properties))?;
        Ok(Self { writer, columns: COLUMNS.iter().map(Values::of).collect(), rows: 0 })
    }

    pub(super) fn push(&mut self, row: &Row) -> Result<(), ParquetError> {
        for (values, column) in self.columns.iter_mut().zip(&COLUMNS) {
            values.push((column.of)(row));
        }
        self.rows += 1;
        if self.rows == GROUP { self.close_group() } else { Ok(()) }
    }

    /// The whole file.
    pub(super) fn finish(mut self) -> Result<Vec<u8>, ParquetError> {
        if self.rows > 0 {
            self.close_group()?;
        }
        self.writer.into_inner()
    }

    fn close_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for values in &mut self.columns {
            let column = group.next_column()?.ok_or_else(|| ParquetError::General("a column is missing".to_owned()))?;
            values.write(column)?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

impl Values {
    fn of(column: &Column) -> Self {
        let values = match column.holds {
            Type::Text => Kept::Text(Vec::new()),
            Type::Number | Type::Time => Kept::Numbers(Vec::new()),
            Type::Flag => Kept::Flags(Vec::new()),
        };
        Self { there: Vec::new(), values }
    }

    fn push(&mut self, cell: Cell<'_>) {
        self.there.push(i16::from(cell != Cell::None));
        match (&mut self.values, cell) {
            (Kept::Text(kept), Cell::Text(text)) => kept.push(match kept.last() {
                // Most texts repeat from row to row; what is equal is kept once.
                Some(last) if last.data() == text.as_bytes() => last.clone(),
                _ => ByteArray::from(text.as_bytes().to_vec()),
            }),
            (Kept::Numbers(kept), Cell::Number(number)) => kept.push(number),
            (Kept::Numbers(kept), Cell::Time(time)) => kept.push(time.as_microsecond()),
            (Kept::Flags(kept), Cell::Flag(flag)) => kept.push(flag),
            // A column gives what it says that it holds, or none.
            _ => {}
        }
    }

    fn write(&mut self, mut column: SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let there = Some(&*self.there);
        match &mut self.values {
            Kept::Text(kept) => {
                column.typed::<ByteArrayType>().write_batch(kept, there, None)?;
                kept.clear();
            }
            Kept::Numbers(kept) => {
                column.typed::<Int64Type>().write_batch(kept, there, None)?;
                kept.clear();
            }
            Kept::Flags(kept) => {
                column.typed::<BoolType>().write_batch(kept, there, None)?;
                kept.clear();
            }
        }
        self.there.clear();
        column.close()
    }
}

fn schema() -> Result<TypePtr, ParquetError> {
    let fields = COLUMNS.iter().map(|column| field(column).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
    Schema::group_type_builder("record").with_fields(fields).build().map(Arc::new)
}

fn field(column: &Column) -> Result<Schema, ParquetError> {
    let physical = match column.holds {
        Type::Text => Physical::BYTE_ARRAY,
        Type::Number | Type::Time => Physical::INT64,
        Type::Flag => Physical::BOOLEAN,
    };
    let builder = Schema::primitive_type_builder(column.name, physical).with_repetition(Repetition::OPTIONAL);
    let builder = match column.holds {
        Type::Text => builder.with_converted_type(ConvertedType::UTF8).with_logical_type(Some(LogicalType::String)),
        Type::Time => builder.with_logical_type(Some(LogicalType::timestamp(true, TimeUnit::MICROS))),
        Type::Number | Type::Flag => builder,
    };
    builder.build()
}
