//! Pictures: drawn, made smaller, written and read.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use anyhow::{Context as _, ensure};
use tempfile::NamedTempFile;

/// The size of a picture that is drawn.
const SIZE: (u32, u32) = (320, 240);

/// A picture of red, green and blue points.
pub(crate) struct Picture {
    pub(crate) width: u32,
    pub(crate) height: u32,
    points: Vec<u8>,
}

impl Picture {
    /// A disc before a sky; no two numbers below 1,000 have the same.
    pub(crate) fn draw(number: u32) -> Self {
        let (width, height) = SIZE;
        let (x0, y0, radius) = (40 + number * 7 % 240, 40 + number * 13 % 160, 20 + number % 40);
        let disc = [number * 37 % 256, number * 91 % 256, number * 151 % 256];
        let mut points = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let is_in_disc = x.abs_diff(x0).pow(2) + y.abs_diff(y0).pow(2) < radius * radius;
                let colour = if is_in_disc { disc } else { [x * 255 / width, y * 255 / height, 200] };
                points.extend(colour.map(|part| part.to_le_bytes()[0]));
            }
        }
        Self { width, height, points }
    }

    /// The same with a side of a quarter: each point is the mean of sixteen.
    pub(crate) fn quarter(&self) -> Self {
        let (width, height) = (self.width / 4, self.height / 4);
        let mut points = Vec::new();
        for y in 0..height {
            for x in 0..width {
                for part in 0..3 {
                    let rows = (0..4).flat_map(|row| (0..4).map(move |column| (4 * x + column, 4 * y + row)));
                    let sum: u32 = rows.map(|(x, y)| u32::from(self.part(x, y, part))).sum();
                    points.push((sum / 16).to_le_bytes()[0]);
                }
            }
        }
        Self { width, height, points }
    }

    fn part(&self, x: u32, y: u32, part: u32) -> u8 {
        self.points[((y * self.width + x) * 3 + part) as usize]
    }

    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let read = || -> anyhow::Result<Self> {
            let mut reader = png::Decoder::new(BufReader::new(File::open(path)?)).read_info()?;
            let (width, height) = reader.info().size();
            ensure!(
                reader.output_color_type() == (png::ColorType::Rgb, png::BitDepth::Eight),
                "it has no RGB points"
            );
            let mut points = vec![0; (width * height * 3) as usize];
            reader.next_frame(&mut points)?;
            Ok(Self { width, height, points })
        };
        read().with_context(|| format!("failed to read {}", path.display()))
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        write(path, |file| {
            let mut encoder = png::Encoder::new(BufWriter::new(file), self.width, self.height);
            encoder.set_color(png::ColorType::Rgb);
            encoder.set_depth(png::BitDepth::Eight);
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&self.points)?;
            Ok(writer.finish()?)
        })
    }
}

/// Writes a file that has its name only when it is complete: a program that is killed leaves no half of one.
pub(crate) fn write(path: &Path, content: impl FnOnce(&File) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        let file = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
        content(file.as_file())?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| format!("failed to write {}", path.display()))
}
