//! How much each node holds of what it should hold.

use crate::topology::NodeIndex;

/// How far a node may be from its quota, as a part of it, but never less than one slot.
const SLACK: f64 = 0.05;

/// How many slots each node holds, and how many it should.
pub(crate) struct Load {
    held: Vec<f64>,
    quota: Vec<f64>,
}

impl Load {
    pub(crate) fn new(quota: Vec<f64>) -> Self {
        Self { held: vec![0.0; quota.len()], quota }
    }

    pub(crate) fn add(&mut self, node: NodeIndex) {
        self.held[node] += 1.0;
    }

    pub(crate) fn shift(&mut self, from: NodeIndex, to: NodeIndex) {
        self.held[from] -= 1.0;
        self.held[to] += 1.0;
    }

    /// How much each node holds, in slots.
    pub(crate) fn held(&self) -> &[f64] {
        &self.held
    }

    /// How full a node is; `dither` tells those apart that are equally full.
    pub(crate) fn fullness(&self, node: NodeIndex, dither: f64) -> f64 {
        (self.held[node] + dither) / self.quota[node]
    }

    /// Whether a node holds less than it should.
    pub(crate) fn wants(&self, node: NodeIndex) -> bool {
        self.held[node] < self.quota[node]
    }

    pub(crate) fn balanced(&self) -> bool {
        !(0..self.held.len()).any(|node| self.over(node) || self.under(node))
    }

    /// Whether one slot of `from` should go to `to`: it brings one of them nearer to its bounds, and the other not out
    /// of them. `gently`: nor past its quota, so that those give who have more than they should.
    pub(crate) fn should_move(&self, from: NodeIndex, to: NodeIndex, gently: bool) -> bool {
        let gives = if gently { self.held[from] > self.quota[from] } else { self.gives(from) };
        let takes = if gently { self.wants(to) } else { self.takes(to) };
        (self.under(to) && gives) || (self.over(from) && takes)
    }

    /// From where and to where one slot has to go, whatever way it takes, the fullest first; `None` if all nodes are in
    /// their bounds.
    pub(crate) fn imbalance(&self) -> Option<(Vec<NodeIndex>, Vec<NodeIndex>)> {
        let all = |is: fn(&Self, NodeIndex) -> bool| {
            let mut all: Vec<_> = (0..self.held.len()).filter(|node| is(self, *node)).collect();
            all.sort_by(|a, b| self.fullness(*b, 0.0).total_cmp(&self.fullness(*a, 0.0)));
            all
        };
        if (0..self.held.len()).any(|node| self.over(node)) {
            Some((all(Self::over), all(Self::takes)))
        } else if (0..self.held.len()).any(|node| self.under(node)) {
            Some((all(Self::gives), all(Self::under)))
        } else {
            None
        }
    }

    fn gives(&self, node: NodeIndex) -> bool {
        self.held[node] - 1.0 >= self.quota[node] - self.slack(node)
    }

    fn takes(&self, node: NodeIndex) -> bool {
        self.held[node] + 1.0 <= self.quota[node] + self.slack(node)
    }

    fn over(&self, node: NodeIndex) -> bool {
        self.held[node] > self.quota[node] + self.slack(node)
    }

    fn under(&self, node: NodeIndex) -> bool {
        self.held[node] < self.quota[node] - self.slack(node)
    }

    fn slack(&self, node: NodeIndex) -> f64 {
        (self.quota[node] * SLACK).max(1.0)
    }
}
