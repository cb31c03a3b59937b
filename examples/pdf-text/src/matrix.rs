//! Plane transformations, as six numbers in the order PDF writes them.

/// `[a b c d e f]`: x' = ax + cy + e, y' = bx + dy + f.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Matrix(pub(crate) [f64; 6]);

impl Matrix {
    pub(crate) const IDENTITY: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    /// First `first`, then this one.
    pub(crate) fn after(self, first: Self) -> Self {
        let [a, b, c, d, e, f] = self.0;
        let [fa, fb, fc, fd, fe, ff] = first.0;
        Self([
            a * fa + c * fb,
            b * fa + d * fb,
            a * fc + c * fd,
            b * fc + d * fd,
            a * fe + c * ff + e,
            b * fe + d * ff + f,
        ])
    }

    /// First a move by (x, y), then this one.
    pub(crate) fn moved(self, x: f64, y: f64) -> Self {
        let [a, b, c, d, e, f] = self.0;
        Self([a, b, c, d, a * x + c * y + e, b * x + d * y + f])
    }

    pub(crate) fn apply(self, (x, y): (f64, f64)) -> (f64, f64) {
        let [a, b, c, d, e, f] = self.0;
        (a * x + c * y + e, b * x + d * y + f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_apply_the_right_hand_side_first() {
        let turn = Matrix([0.0, 1.0, -1.0, 0.0, 0.0, 0.0]);
        let shift = Matrix::IDENTITY.moved(10.0, 0.0);
        assert_eq!(
            turn.after(shift).apply((1.0, 2.0)),
            turn.apply(shift.apply((1.0, 2.0)))
        );
        assert_eq!(turn.moved(10.0, 0.0), turn.after(shift));
    }
}
