//! Directed graphs with labelled edges, their strongly connected components, and the worst cycle in them.

use std::collections::{BTreeSet, VecDeque};

/// Why one transaction comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Edge {
    Ww,
    Wr,
    Rw,
    Rt,
}

impl Edge {
    pub fn name(self) -> &'static str {
        match self {
            Edge::Ww => "ww",
            Edge::Wr => "wr",
            Edge::Rw => "rw",
            Edge::Rt => "rt",
        }
    }
}

/// Nodes are numbered; those from `transactions` on are moments, which only carry real time on.
pub struct Graph {
    transactions: usize,
    next: Vec<BTreeSet<(usize, Edge)>>,
}

/// Transactions in a circle, each with the edge that leads to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    pub nodes: Vec<usize>,
    pub edges: Vec<Edge>,
}

impl Cycle {
    pub fn steps(&self) -> impl Iterator<Item = (usize, Edge)> {
        self.nodes.iter().copied().zip(self.edges.iter().copied())
    }

    /// As the literature calls it.
    pub fn class(&self) -> String {
        let count = |wanted: Edge| self.edges.iter().filter(|edge| **edge == wanted).count();
        let name = match (count(Edge::Rw), count(Edge::Wr)) {
            (0, 0) => "G0",
            (0, _) => "G1c",
            (1, _) => "G-single",
            _ => "G2",
        };
        match count(Edge::Rt) {
            0 => name.to_owned(),
            _ => format!("{name}-realtime"),
        }
    }
}

impl Graph {
    pub fn new(transactions: usize) -> Graph {
        Graph {
            transactions,
            next: vec![BTreeSet::new(); transactions],
        }
    }

    pub fn add_moment(&mut self) -> usize {
        self.next.push(BTreeSet::new());
        self.next.len() - 1
    }

    /// An edge from a transaction to itself says nothing.
    pub fn add(&mut self, from: usize, to: usize, edge: Edge) {
        if from != to {
            self.next[from].insert((to, edge));
        }
    }

    pub fn edges(&self) -> usize {
        self.next.iter().map(BTreeSet::len).sum()
    }

    /// A cycle of the worst class there is: with the fewest kinds of edges, and a short one.
    pub fn worst_cycle(&self) -> Option<Cycle> {
        use Edge::{Rt, Rw, Wr, Ww};
        let kinds: [&[Edge]; 6] = [&[Ww], &[Ww, Wr], &[Ww, Wr, Rw], &[Ww, Rt], &[Ww, Wr, Rt], &[Ww, Wr, Rw, Rt]];
        // Nothing is in a circle unless it is with all edges.
        let suspects = self.components(&[Ww, Wr, Rw, Rt]);
        if suspects.is_empty() {
            return None;
        }
        kinds.iter().find_map(|kinds| {
            let component = self.components(kinds).into_iter().min_by_key(Vec::len)?;
            self.cycle_in(&component, kinds)
        })
    }

    /// Strongly connected components with more than one node (Tarjan's algorithm, without recursion).
    fn components(&self, kinds: &[Edge]) -> Vec<Vec<usize>> {
        let mut search = Search {
            number: vec![usize::MAX; self.next.len()],
            low: vec![0; self.next.len()],
            is_on_stack: vec![false; self.next.len()],
            stack: Vec::new(),
            count: 0,
            found: Vec::new(),
        };
        let neighbours: Vec<Vec<usize>> = self
            .next
            .iter()
            .map(|next| next.iter().filter(|(_, edge)| kinds.contains(edge)).map(|(to, _)| *to).collect())
            .collect();
        for start in 0..self.next.len() {
            if search.number[start] == usize::MAX {
                search.from(start, &neighbours);
            }
        }
        search.found
    }

    /// A shortest circle through the component's first transaction that is on one.
    fn cycle_in(&self, component: &[usize], kinds: &[Edge]) -> Option<Cycle> {
        let inside: BTreeSet<usize> = component.iter().copied().collect();
        let start = component.iter().copied().filter(|node| *node < self.transactions).min()?;
        let mut came: Vec<Option<(usize, Edge)>> = vec![None; self.next.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for (to, edge) in self.next[node]
                .iter()
                .filter(|(to, edge)| inside.contains(to) && kinds.contains(edge))
            {
                if *to == start {
                    came[start] = Some((node, *edge));
                    return Some(self.circle(start, &came));
                }
                if came[*to].is_none() {
                    came[*to] = Some((node, *edge));
                    queue.push_back(*to);
                }
            }
        }
        None
    }

    /// Follows the way back; moments on it become one edge of real time.
    fn circle(&self, start: usize, came: &[Option<(usize, Edge)>]) -> Cycle {
        let mut backwards = Vec::new();
        let mut at = start;
        while let Some((before, edge)) = came[at] {
            if before < self.transactions {
                backwards.push((before, edge));
            }
            at = before;
            if at == start {
                break;
            }
        }
        backwards.reverse();
        Cycle {
            nodes: backwards.iter().map(|(node, _)| *node).collect(),
            edges: backwards.iter().map(|(_, edge)| *edge).collect(),
        }
    }
}

struct Search {
    number: Vec<usize>,
    low: Vec<usize>,
    is_on_stack: Vec<bool>,
    stack: Vec<usize>,
    count: usize,
    found: Vec<Vec<usize>>,
}

impl Search {
    fn from(&mut self, start: usize, neighbours: &[Vec<usize>]) {
        self.enter(start);
        let mut way = vec![(start, 0)];
        while let Some((node, position)) = way.last_mut() {
            let node = *node;
            if let Some(next) = neighbours[node].get(*position) {
                *position += 1;
                if self.number[*next] == usize::MAX {
                    self.enter(*next);
                    way.push((*next, 0));
                } else if self.is_on_stack[*next] {
                    self.low[node] = self.low[node].min(self.number[*next]);
                }
                continue;
            }
            way.pop();
            if let Some((parent, _)) = way.last() {
                self.low[*parent] = self.low[*parent].min(self.low[node]);
            }
            self.leave(node);
        }
    }

    fn enter(&mut self, node: usize) {
        self.number[node] = self.count;
        self.low[node] = self.count;
        self.count += 1;
        self.stack.push(node);
        self.is_on_stack[node] = true;
    }

    fn leave(&mut self, node: usize) {
        if self.low[node] != self.number[node] {
            return;
        }
        let begin = self.stack.iter().rposition(|other| *other == node).unwrap_or(0);
        let component = self.stack.split_off(begin);
        component.iter().for_each(|node| self.is_on_stack[*node] = false);
        if component.len() > 1 {
            self.found.push(component);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(nodes: usize, edges: &[(usize, usize, Edge)]) -> Graph {
        let mut graph = Graph::new(nodes);
        for (from, to, edge) in edges {
            graph.add(*from, *to, *edge);
        }
        graph
    }

    #[test]
    fn a_chain_has_no_cycle_and_a_self_edge_is_none() {
        let chain: Vec<_> = (0..10_000).map(|node| (node, node + 1, Edge::Ww)).collect();
        let mut graph = graph(10_001, &chain);
        graph.add(5, 5, Edge::Wr);
        assert_eq!(graph.worst_cycle(), None);
    }

    #[test]
    fn the_worst_class_is_named_first() {
        use Edge::{Rt, Rw, Wr, Ww};
        let class = |edges: &[(usize, usize, Edge)]| graph(6, edges).worst_cycle().map(|cycle| cycle.class());
        let g2 = [(0, 1, Rw), (1, 0, Rw)];
        assert_eq!(class(&g2).as_deref(), Some("G2"));
        assert_eq!(
            class(&[&g2[..], &[(2, 3, Wr), (3, 2, Rw)]].concat()).as_deref(),
            Some("G2"),
            "both are cycles with rw"
        );
        assert_eq!(class(&[(2, 3, Wr), (3, 2, Rw)]).as_deref(), Some("G-single"));
        assert_eq!(
            class(&[&g2[..], &[(2, 3, Wr), (3, 4, Ww), (4, 2, Ww)]].concat()).as_deref(),
            Some("G1c")
        );
        assert_eq!(class(&[&g2[..], &[(4, 5, Ww), (5, 4, Ww)]].concat()).as_deref(), Some("G0"));
        assert_eq!(class(&[(0, 1, Rw), (1, 2, Rt), (2, 0, Wr)]).as_deref(), Some("G-single-realtime"));
    }

    #[test]
    fn moments_carry_real_time_and_are_not_named() {
        let mut graph = graph(2, &[(1, 0, Edge::Rw)]);
        let (first, second) = (graph.add_moment(), graph.add_moment());
        graph.add(0, first, Edge::Rt);
        graph.add(first, second, Edge::Rt);
        graph.add(second, 1, Edge::Rt);
        let cycle = graph.worst_cycle().expect("a cycle");
        assert_eq!((cycle.nodes.as_slice(), cycle.class().as_str()), (&[0, 1][..], "G-single-realtime"));
    }
}
