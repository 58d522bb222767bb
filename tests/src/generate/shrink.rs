//! Finds the few units of a failed script that make it fail.

/// A part of `script`, in its order, that still `differs`; at most `tries` parts are tried.
///
/// Larger pieces are left out first, then smaller ones, as delta debugging does.
pub fn shrunk<T: Clone>(script: &[T], mut tries: usize, mut differs: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut script = script.to_vec();
    let mut piece = script.len().div_ceil(2).max(1);
    loop {
        let mut end = script.len();
        // From the end: what comes last is most likely needed, and its causes stand close before it.
        while end > 0 {
            if tries == 0 {
                return script;
            }
            tries -= 1;
            let start = end.saturating_sub(piece);
            let rest = [&script[..start], &script[end..]].concat();
            if !rest.is_empty() && differs(&rest) {
                script = rest;
            }
            end = start;
        }
        if piece == 1 {
            return script;
        }
        piece = piece.div_ceil(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_needed_is_left() {
        let script: Vec<u32> = (0..500).collect();
        let left = shrunk(&script, 1_000, |part| part.contains(&17) && part.contains(&401));
        assert_eq!(left, [17, 401]);
    }

    #[test]
    fn it_ends_when_its_tries_are_over() {
        let script: Vec<u32> = (0..500).collect();
        assert!(shrunk(&script, 3, |part| part.contains(&17)).len() > 1);
    }
}
