//! Lists that are short in most orgs: `Vec` would begin with room for four, of which
//! an org of few names leaves three empty in every list that it has.

/// Makes room for one more: by a quarter, from that for one.
pub fn reserve<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(1 + list.len() / 4);
    }
}

/// Appends to a list.
pub fn push<T>(list: &mut Vec<T>, item: T) {
    reserve(list);
    list.push(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_little_room_to_spare_and_grows_seldom() {
        let (mut list, mut grown) = (Vec::new(), 0);
        for number in 0..10_000_usize {
            let before = list.capacity();
            push(&mut list, number);
            grown += usize::from(list.capacity() > before);
            assert!(list.capacity() <= list.len() + list.len() / 4 + 1, "{}", list.capacity());
        }
        assert!(grown < 50, "{grown}");
    }
}
