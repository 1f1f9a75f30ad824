//! Bar charts as SVG: for each case a panel, for each allocator a bar, the shortest first, this
//! library's in colour.

use std::fs;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Failure;
use super::markdown::number;
use super::results::{Figure, Results, seconds, times};
use crate::cases::Role;

/// Pixels.
const PANEL: (u32, u32) = (480, 290);
const TOP: i32 = 34;
const BAR: i32 = 20;
const LABEL: i32 = 150;
const VALUE: i32 = 70;
/// A bar longer than so many times the middle one is cut.
const CUT: f64 = 4.0;
const COLUMNS: usize = 2;

/// One case.
struct Panel {
    title: String,
    unit: &'static str,
    /// Allocator, role, value.
    bars: Vec<(String, Role, f64)>,
}

impl Panel {
    fn new(title: impl Into<String>, unit: &'static str, figures: &[Figure]) -> Self {
        let mut bars: Vec<_> =
            figures.iter().map(|figure| (figure.allocator.to_owned(), figure.role, figure.value)).collect();
        bars.sort_by(|one, other| one.2.total_cmp(&other.2));
        Self { title: title.into(), unit, bars }
    }
}

fn colour(allocator: &str, role: Role) -> RGBColor {
    match role {
        Role::Ours if allocator.starts_with("coroutine") => RGBColor(0, 96, 122),
        Role::Ours if allocator.starts_with("thread") => RGBColor(0, 150, 136),
        Role::Ours => RGBColor(128, 203, 196),
        Role::Peer | Role::Other => RGBColor(176, 182, 188),
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn told(error: impl std::fmt::Display) -> Failure {
    format!("a chart: {error}")
}

fn draw_panel(area: &Area, panel: &Panel) -> Result<(), Failure> {
    let text = |size: i32, across: HPos| {
        ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(across, VPos::Center))
    };
    let title = format!("{} ({})", panel.title, panel.unit);
    area.draw(&Text::new(title, (10, TOP / 2), text(15, HPos::Left))).map_err(told)?;
    let Some((_, _, middle)) = panel.bars.get(panel.bars.len() / 2) else { return Ok(()) };
    let longest =
        panel.bars.last().map_or(1.0, |(_, _, value)| value.min(middle * CUT)).max(f64::MIN_POSITIVE);
    let room = PANEL.0 as i32 - LABEL - VALUE;
    for (index, (allocator, role, value)) in panel.bars.iter().enumerate() {
        let top = TOP + index as i32 * BAR;
        let middle = top + BAR / 2;
        let cut = *value > longest;
        let length = (f64::from(room) * (value.min(longest) / longest)).max(1.0) as i32;
        area.draw(&Text::new(allocator.clone(), (LABEL - 6, middle), text(13, HPos::Right))).map_err(told)?;
        let bar = [(LABEL, top + 2), (LABEL + length, top + BAR - 2)];
        area.draw(&Rectangle::new(bar, colour(allocator, *role).filled())).map_err(told)?;
        let label = if cut { format!("… {}", number(*value)) } else { number(*value) };
        area.draw(&Text::new(label, (LABEL + length + 5, middle), text(13, HPos::Left))).map_err(told)?;
    }
    Ok(())
}

fn draw_chart(file: &Path, panels: &[Panel]) -> Result<(), Failure> {
    let panels: Vec<_> = panels.iter().filter(|panel| !panel.bars.is_empty()).collect();
    if panels.is_empty() {
        return Ok(());
    }
    let rows = panels.len().div_ceil(COLUMNS);
    let size = (PANEL.0 * COLUMNS as u32, PANEL.1 * rows as u32);
    let area = SVGBackend::new(file, size).into_drawing_area();
    area.fill(&WHITE).map_err(told)?;
    for (panel, place) in panels.into_iter().zip(area.split_evenly((rows, COLUMNS))) {
        draw_panel(&place, panel)?;
    }
    area.present().map_err(told)
}

/// The panels of the cases whose titles begin with one of these, on so many threads.
fn of_cases(results: &Results, starts: &[&str], threads: usize) -> Vec<Panel> {
    let groups = results.groups().into_iter();
    let wanted = groups.filter(|(title, group)| {
        starts.iter().any(|start| title.starts_with(start))
            && group.iter().all(|measured| measured.case.threads == threads)
    });
    wanted
        .map(|(title, group)| {
            let global: Vec<_> =
                group.into_iter().filter(|measured| is_global(&measured.case.allocator)).collect();
            Panel::new(title, "ns", &times(&global))
        })
        .collect()
}

/// Whether it is a whole global allocator or a tier of one.
fn is_global(allocator: &str) -> bool {
    allocator.contains(" tier") || super::field::FIELD.iter().any(|entry| entry.name == allocator)
}

fn memory(results: &Results) -> Vec<Panel> {
    let stages = [0, 2, 3, 5].map(|stage| (stage, crate::memory::Stages::HEADINGS[stage]));
    stages
        .map(|(stage, heading)| {
            let figures: Vec<_> = results
                .memory
                .iter()
                .map(|memory| Figure {
                    allocator: &memory.allocator,
                    role: memory.role,
                    value: memory.medians()[stage] / f64::from(1 << 20),
                })
                .collect();
            Panel::new(format!("500,000 blocks, {heading}"), "MiB resident", &figures)
        })
        .into()
}

/// Draws all charts into a folder.
pub fn draw(folder: &Path, results: &Results) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let programs: Vec<_> =
        results.programs().iter().map(|(name, group)| Panel::new(*name, "s", &seconds(group))).collect();
    let blocks = [
        "pair, 16",
        "pair, 64",
        "pair, 8",
        "batch of 10,000, freed first",
        "batch of 10,000, freed at",
        "churn",
    ];
    let shared = ["pair, 64", "churn", "request", "JSON", "freed", "larson"];
    draw_chart(&folder.join("blocks.svg"), &of_cases(results, &blocks, 1))?;
    draw_chart(&folder.join("threads.svg"), &of_cases(results, &shared, 2))?;
    draw_chart(&folder.join("programs.svg"), &programs)?;
    draw_chart(&folder.join("memory.svg"), &memory(results))
}
