//! The graph of an execution's tasks, drawn from left to right.
//!
//! A task stands in the layer behind the last of those that it comes after. An edge over several layers keeps
//! a lane in each of them free, so that it crosses no task. In a large graph the tasks of a layer that are in
//! one state are folded into one node, but for those in trouble.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use maud::{Markup, html};

use super::parts::state::{Icon, Look};
use super::parts::text;

const WIDTH: f64 = 182.0;
const HEIGHT: f64 = 60.0;
/// The height of the lane of an edge that passes a layer.
const LANE: f64 = 10.0;
/// From one layer to the next, and between the nodes of one.
const PITCH: f64 = 254.0;
const GAP: f64 = 26.0;
const MARGIN: f64 = 6.0;

/// From how many tasks on a graph is folded.
const FOLDS: usize = 60;
/// How many in trouble are shown of a layer that is folded.
const OPEN: usize = 6;
/// How many letters of a name there is room for.
const LETTERS: usize = 22;

/// A task as it is drawn.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) look: Look,
    /// What is told besides its state.
    pub(super) note: String,
    /// Of which positions it comes after.
    pub(super) after: Vec<usize>,
    /// For a map: how much of it is over, from 0 to 1.
    pub(super) progress: Option<f64>,
    /// Where it leads.
    pub(super) href: String,
}

/// Several tasks of a layer in one state, or one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    members: Vec<usize>,
    is_folded: bool,
}

/// Where something of a layer is: its top, or the middle of a lane.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spot {
    layer: usize,
    y: f64,
}

/// What stands in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Item {
    Group(usize),
    /// The lane of an edge, by its number.
    Lane(usize),
}

/// The layer of each node: the longest way to it. A circle, which no workflow has, ends nowhere and begins in
/// the first layer.
fn layers(nodes: &[Node]) -> Vec<usize> {
    let mut layers = vec![0; nodes.len()];
    let mut left: Vec<usize> = nodes.iter().map(|node| node.after.len()).collect();
    let mut behind: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (position, node) in nodes.iter().enumerate() {
        for &before in node.after.iter().filter(|before| **before < nodes.len()) {
            behind[before].push(position);
        }
    }
    let mut next: Vec<usize> = (0..nodes.len()).filter(|position| left[*position] == 0).collect();
    while let Some(position) = next.pop() {
        for &after in &behind[position] {
            layers[after] = layers[after].max(layers[position] + 1);
            left[after] = left[after].saturating_sub(1);
            if left[after] == 0 {
                next.push(after);
            }
        }
    }
    layers
}

fn is_trouble(node: &Node) -> bool {
    matches!(node.look.class, "fail" | "mind" | "wait")
}

/// The groups of each layer, in the order of the nodes.
fn groups(nodes: &[Node]) -> Vec<Vec<Group>> {
    let of = layers(nodes);
    let mut by_layer: Vec<Vec<usize>> = vec![Vec::new(); of.iter().max().map_or(0, |last| last + 1)];
    for (position, layer) in of.into_iter().enumerate() {
        by_layer[layer].push(position);
    }
    if nodes.len() <= FOLDS {
        let one = |position| Group { members: vec![position], is_folded: false };
        return by_layer.into_iter().map(|layer| layer.into_iter().map(one).collect()).collect();
    }
    let mut folded: Vec<Vec<Group>> = Vec::new();
    for layer in by_layer {
        let mut groups: Vec<Group> = Vec::new();
        let mut known: BTreeMap<String, usize> = BTreeMap::new();
        let mut open = 0;
        for position in layer {
            if is_trouble(&nodes[position]) && open < OPEN {
                open += 1;
                groups.push(Group { members: vec![position], is_folded: false });
                continue;
            }
            match known.get(nodes[position].look.word.as_ref()) {
                Some(&group) => {
                    groups[group].members.push(position);
                    groups[group].is_folded = true;
                }
                None => {
                    known.insert(nodes[position].look.word.to_string(), groups.len());
                    groups.push(Group { members: vec![position], is_folded: false });
                }
            }
        }
        // A long chain in one state is folded along its length.
        let word = |groups: &[Group]| match groups {
            [group] if !is_trouble(&nodes[group.members[0]]) => {
                Some(nodes[group.members[0]].look.word.clone())
            }
            _ => None,
        };
        match folded.last_mut() {
            Some(last) if word(last).is_some() && word(last) == word(&groups) => {
                last[0].members.append(&mut groups[0].members);
                last[0].is_folded = true;
            }
            _ => folded.push(groups),
        }
    }
    folded
}

/// A graph that is laid out.
struct Drawing {
    groups: Vec<Group>,
    spots: Vec<Spot>,
    /// From which group to which, by which lanes.
    edges: Vec<(usize, usize, Vec<Spot>)>,
    width: f64,
    height: f64,
}

fn lay_out(nodes: &[Node]) -> Drawing {
    let layered = groups(nodes);
    let mut groups = Vec::new();
    let mut layer_of = Vec::new();
    let mut items: Vec<Vec<Item>> = vec![Vec::new(); layered.len()];
    let mut group_of = vec![0; nodes.len()];
    for (layer, of_layer) in layered.into_iter().enumerate() {
        for group in of_layer {
            for &member in &group.members {
                group_of[member] = groups.len();
            }
            items[layer].push(Item::Group(groups.len()));
            groups.push(group);
            layer_of.push(layer);
        }
    }
    let mut edges = BTreeSet::new();
    for (position, node) in nodes.iter().enumerate() {
        for &before in node.after.iter().filter(|before| **before < nodes.len()) {
            let (from, to) = (group_of[before], group_of[position]);
            if layer_of[from] < layer_of[to] {
                edges.insert((from, to));
            }
        }
    }
    let edges: Vec<(usize, usize)> = edges.into_iter().collect();
    // What comes before an item, to order its layer by.
    let mut before: HashMap<Item, Vec<Item>> = HashMap::new();
    for (number, &(from, to)) in edges.iter().enumerate() {
        let mut last = Item::Group(from);
        for layer in &mut items[layer_of[from] + 1..layer_of[to]] {
            layer.push(Item::Lane(number));
            before.entry(Item::Lane(number)).or_insert_with(|| vec![last]);
            last = Item::Lane(number);
        }
        let last = if layer_of[to] - layer_of[from] > 1 { Item::Lane(number) } else { Item::Group(from) };
        before.entry(Item::Group(to)).or_default().push(last);
    }
    let height_of = |item: &Item| if matches!(item, Item::Group(_)) { HEIGHT } else { LANE };
    let tall = |layer: &[Item]| layer.iter().map(|item| height_of(item) + GAP).sum::<f64>() - GAP;
    let height = items.iter().map(|layer| tall(layer)).fold(HEIGHT, f64::max);
    let mut middle: HashMap<(usize, Item), f64> = HashMap::new();
    for (number, layer) in items.iter_mut().enumerate() {
        if let Some(earlier) = number.checked_sub(1) {
            let wish = |item: &Item| {
                let befores = before.get(item).map(Vec::as_slice).unwrap_or_default();
                let known: Vec<f64> =
                    befores.iter().filter_map(|item| middle.get(&(earlier, *item)).copied()).collect();
                if known.is_empty() { height } else { known.iter().sum::<f64>() / known.len() as f64 }
            };
            let mut wished: Vec<(f64, Item)> = layer.iter().map(|item| (wish(item), *item)).collect();
            wished.sort_by(|(one, _), (other, _)| one.total_cmp(other));
            *layer = wished.into_iter().map(|(_, item)| item).collect();
        }
        let mut y = MARGIN + (height - tall(layer)) / 2.0;
        for item in layer.iter() {
            middle.insert((number, *item), y + height_of(item) / 2.0);
            y += height_of(item) + GAP;
        }
    }
    let spot =
        |layer: usize, item: Item| Spot { layer, y: middle.get(&(layer, item)).copied().unwrap_or(0.0) };
    let spots = (0..groups.len()).map(|group| spot(layer_of[group], Item::Group(group))).collect();
    let routed = edges.iter().enumerate().map(|(number, &(from, to))| {
        let lanes = layer_of[from] + 1..layer_of[to];
        (from, to, lanes.map(|layer| spot(layer, Item::Lane(number))).collect())
    });
    Drawing {
        edges: routed.collect(),
        groups,
        spots,
        width: PITCH * (items.len().max(1) - 1) as f64 + WIDTH + 2.0 * MARGIN,
        height: height + 2.0 * MARGIN,
    }
}

fn x(layer: usize) -> f64 {
    MARGIN + PITCH * layer as f64
}

fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

fn path(from: Spot, to: Spot, lanes: &[Spot]) -> String {
    let (mut at_x, mut at_y) = (x(from.layer) + WIDTH, from.y);
    let mut path = format!("M{} {}", short(at_x), short(at_y));
    let curve = |at_x: f64, at_y: f64, to_x: f64, to_y: f64| {
        let half = (at_x + to_x) / 2.0;
        format!("C{h} {} {h} {} {} {}", short(at_y), short(to_y), short(to_x), short(to_y), h = short(half))
    };
    for lane in lanes {
        path += &curve(at_x, at_y, x(lane.layer), lane.y);
        (at_x, at_y) = (x(lane.layer) + WIDTH, lane.y);
        path += &format!("H{}", short(at_x));
    }
    path + &curve(at_x, at_y, x(to.layer), to.y)
}

/// The drawing. The table of tasks says the same in words.
pub(super) fn draw(nodes: &[Node]) -> Markup {
    let drawing = lay_out(nodes);
    let first = |group: usize| &nodes[drawing.groups[group].members[0]];
    html! {
        div.scroll tabindex="0" role="region" aria-label="Graph of the tasks; the table below says the same" {
            svg.draw width=(short(drawing.width)) height=(short(drawing.height))
                viewBox=(format!("0 0 {} {}", short(drawing.width), short(drawing.height)))
                role="group" aria-label="Graph" {
                @for (from, to, lanes) in &drawing.edges {
                    path class={ "edge " (passed(first(*from), first(*to))) }
                        d=(path(drawing.spots[*from], drawing.spots[*to], lanes)) {}
                }
                @for (group, spot) in drawing.groups.iter().zip(&drawing.spots) {
                    (node(group, &nodes[group.members[0]], *spot))
                }
            }
        }
    }
}

/// How an edge is drawn.
fn passed(from: &Node, to: &Node) -> &'static str {
    let is_skipped = |node: &Node| node.look.icon == Icon::Skipped;
    if is_skipped(from) || is_skipped(to) {
        "off"
    } else if from.look.class == "done" && to.look.icon != Icon::Pending {
        "went"
    } else {
        ""
    }
}

fn node(group: &Group, first: &Node, spot: Spot) -> Markup {
    let (left, top) = (x(spot.layer), spot.y - HEIGHT / 2.0);
    let at = |dx: f64, dy: f64| (short(left + dx), short(top + dy));
    let name = if group.is_folded {
        text::count(group.members.len() as u64, "task", "tasks")
    } else {
        first.name.clone()
    };
    let note = if group.is_folded { "" } else { first.note.as_str() };
    let kind = match (first.look.class, first.look.icon) {
        (_, Icon::Skipped) => "box off",
        ("none" | "done", _) => "box",
        _ => "box on",
    };
    let href = if group.is_folded { "#tasks" } else { first.href.as_str() };
    let (icon_x, icon_y) = at(11.0, 11.0);
    let (text_x, name_y) = at(29.0, 20.5);
    let (_, word_y) = at(0.0, 35.5);
    let (_, note_y) = at(0.0, 50.0);
    html! {
        a href=(href) class=(first.look.class) {
            @if first.progress.is_some() || group.is_folded {
                path.box d=(format!("M{} {}v-4h{WIDTH}v{HEIGHT}h-5", short(left + 5.0), short(top))) {}
            }
            rect class=(kind) x=(short(left)) y=(short(top)) width=(WIDTH) height=(HEIGHT) rx="5" {}
            svg.i.st x=(icon_x) y=(icon_y) width="11" height="11" {
                use href=(format!("#i-{}", first.look.icon.id())) {}
            }
            text.t x=(text_x) y=(name_y) {
                (text::cut(&name, LETTERS))
                @if name.chars().count() > LETTERS { title { (name) } }
            }
            text.c x=(text_x) y=(word_y) { (first.look.word) }
            @if !note.is_empty() { text x=(text_x) y=(note_y) { (text::cut(note, 28)) } }
            @if let Some(part) = first.progress.filter(|_| !group.is_folded) {
                rect.track x=(short(left + 12.0)) y=(short(top + 54.0)) width="158" height="3" {}
                rect.f x=(short(left + 12.0)) y=(short(top + 54.0)) width=(short(158.0 * part.clamp(0.0, 1.0))) height="3" {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::parts::state::{COMPLETED, FAILED, PENDING, SKIPPED};

    fn task(name: &str, look: Look, after: &[usize]) -> Node {
        let (note, href) = (String::new(), format!("#t-{name}"));
        Node { name: name.to_owned(), look, note, after: after.to_vec(), progress: None, href }
    }

    #[test]
    fn a_task_stands_behind_the_last_one_that_it_comes_after() {
        let nodes = [
            task("a", COMPLETED, &[]),
            task("b", COMPLETED, &[0]),
            task("c", PENDING, &[0, 1]),
            task("d", PENDING, &[]),
        ];
        assert_eq!(layers(&nodes), [0, 1, 2, 0]);
    }

    #[test]
    fn an_edge_over_a_layer_keeps_a_lane_free() {
        let nodes = [task("a", COMPLETED, &[]), task("b", COMPLETED, &[0]), task("c", PENDING, &[0, 1])];
        let drawing = lay_out(&nodes);
        let (.., lanes) = drawing.edges.iter().find(|(from, to, _)| (*from, *to) == (0, 2)).unwrap();
        assert_eq!(lanes.len(), 1);
        let apart = (lanes[0].y - drawing.spots[1].y).abs();
        assert!(apart >= (HEIGHT + LANE) / 2.0, "{apart}");
    }

    #[test]
    fn no_two_nodes_of_a_layer_overlap() {
        let mut nodes = vec![task("root", COMPLETED, &[])];
        nodes.extend((0..20).map(|number| task(&number.to_string(), PENDING, &[0])));
        let drawing = lay_out(&nodes);
        let mut tops: Vec<f64> =
            drawing.spots.iter().filter(|spot| spot.layer == 1).map(|spot| spot.y).collect();
        tops.sort_by(f64::total_cmp);
        assert_eq!(tops.len(), 20);
        assert!(tops.windows(2).all(|pair| pair[1] - pair[0] >= HEIGHT + GAP - 0.01));
        assert!(drawing.height > 20.0 * HEIGHT);
    }

    #[test]
    fn a_large_graph_is_folded_but_for_what_is_in_trouble() {
        let mut nodes = vec![task("list", COMPLETED, &[])];
        nodes
            .extend((0..200).map(|number| {
                task(&number.to_string(), if number == 77 { FAILED } else { COMPLETED }, &[0])
            }));
        nodes.push(task("sum", SKIPPED, &(1..=200).collect::<Vec<_>>()));
        let shown = draw(&nodes).into_string();
        assert_eq!(shown.matches("<rect class=\"box").count(), 4, "{shown}");
        assert!(shown.contains(">199 tasks</text>") && shown.contains(">77</text>"), "{shown}");
        assert!(shown.len() < 6_000);
    }

    #[test]
    fn a_chain_of_ten_thousand_is_one_node() {
        let nodes: Vec<Node> = (0..10_000_usize)
            .map(|number| {
                task(&number.to_string(), COMPLETED, &number.checked_sub(1).into_iter().collect::<Vec<_>>())
            })
            .collect();
        assert!(draw(&nodes).into_string().contains(">10,000 tasks</text>"));
    }

    #[test]
    fn a_graph_of_circles_and_of_nothing_is_drawn_all_the_same() {
        draw(&[task("a", PENDING, &[1, 7]), task("b", PENDING, &[0])]);
        draw(&[]);
    }

    #[test]
    fn what_names_hold_is_escaped_in_a_graph() {
        let shown = draw(&[task("<script>\"'&", COMPLETED, &[])]).into_string();
        assert!(!shown.contains("<script>"), "{shown}");
        assert!(shown.contains(">&lt;script&gt;&quot;'&amp;</text>"), "{shown}");
    }
}
