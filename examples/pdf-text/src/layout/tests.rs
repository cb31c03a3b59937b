//! Each layout rule on glyphs made by hand: ten points high, five wide unless said otherwise.

use super::*;
use crate::glyph::Text;
use crate::unicode;

const SIZE: f32 = 10.0;
const WIDTH: f32 = 5.0;

fn glyph(c: char, x: f32, y: f32) -> Glyph {
    Glyph {
        x,
        y,
        ux: 1.0,
        uy: 0.0,
        advance: WIDTH,
        em: SIZE,
        size: SIZE,
        text: Text::of(c),
        kind: unicode::kind_of(c),
    }
}

/// Glyphs one after the other, without any gap; a space only moves the pen.
fn words(text: &str, x: f32, y: f32) -> Vec<Glyph> {
    let places = (0_u8..).map(|index| x + f32::from(index) * WIDTH);
    text.chars()
        .zip(places)
        .filter(|&(c, _)| c != ' ')
        .map(|(c, x)| glyph(c, x, y))
        .collect()
}

fn wide(text: &str, x: f32, y: f32) -> Vec<Glyph> {
    text.chars()
        .zip(0_u8..)
        .map(|(c, index)| Glyph {
            advance: SIZE,
            ..glyph(c, x + f32::from(index) * SIZE, y)
        })
        .collect()
}

fn laid_out(glyphs: impl IntoIterator<Item = Glyph>) -> String {
    laid_out_with(glyphs, &Texts::default())
}

fn laid_out_with(glyphs: impl IntoIterator<Item = Glyph>, texts: &Texts) -> String {
    let mut out = String::new();
    Layout::default().write_page(glyphs.into_iter().collect(), texts, &mut out);
    out
}

#[test]
fn gaps_make_words_and_baselines_make_lines() {
    let glyphs = [
        words("two words", 10.0, 20.0),
        words("next line", 10.0, 32.0),
    ]
    .concat();
    assert_eq!(laid_out(glyphs), "two words\nnext line");
}

#[test]
fn a_wider_step_between_lines_makes_a_paragraph() {
    let lines = [
        (20.0, "one"),
        (32.0, "two"),
        (44.0, "three"),
        (66.0, "four"),
        (78.0, "five"),
    ];
    assert_eq!(
        laid_out(lines.iter().flat_map(|&(y, text)| words(text, 10.0, y))),
        "one\ntwo\nthree\n\nfour\nfive"
    );
}

#[test]
fn kerning_is_no_space() {
    let mut glyphs = words("AVA", 10.0, 20.0);
    glyphs[1].x -= 1.0;
    glyphs[2].x -= 0.2;
    assert_eq!(laid_out(glyphs), "AVA");
}

#[test]
fn drawn_spaces_are_single_and_not_at_the_ends() {
    let text = "  a  b  "
        .chars()
        .zip(0_u8..)
        .map(|(c, index)| glyph(c, f32::from(index) * WIDTH, 20.0));
    assert_eq!(laid_out(text), "a b");
}

#[test]
fn letter_spacing_is_not_taken_for_spaces() {
    let spaced = "SPACED"
        .chars()
        .zip(0_u8..)
        .map(|(c, index)| glyph(c, f32::from(index) * (WIDTH + 2.5), 20.0));
    let word = "OUT"
        .chars()
        .zip(0_u8..)
        .map(|(c, index)| glyph(c, 52.0 + f32::from(index) * (WIDTH + 2.5), 20.0));
    assert_eq!(laid_out(spaced.chain(word)), "SPACED OUT");
}

#[test]
fn single_letters_with_full_spaces_stay_apart() {
    assert_eq!(
        laid_out(words("a b c d e f g h", 10.0, 20.0)),
        "a b c d e f g h"
    );
}

#[test]
fn hyphens_at_the_end_of_a_line_stay() {
    assert_eq!(
        laid_out([words("hyphen-", 10.0, 20.0), words("ated", 10.0, 32.0)].concat()),
        "hyphen-\nated"
    );
}

#[test]
fn a_soft_hyphen_under_the_next_letter_is_left_out() {
    let glyphs = [
        glyph('n', 0.0, 20.0),
        glyph('\u{ad}', 5.0, 20.0),
        glyph('o', 5.0, 20.0),
    ];
    assert_eq!(laid_out(glyphs), "no");
}

#[test]
fn scripts_stay_on_their_line() {
    let script = |c, x, y| Glyph {
        advance: 3.0,
        em: 7.0,
        size: 7.0,
        ..glyph(c, x, y)
    };
    let glyphs = [
        glyph('x', 0.0, 20.0),
        script('2', 5.0, 16.0),
        glyph('y', 8.0, 20.0),
        script('i', 13.0, 22.0),
    ];
    assert_eq!(laid_out(glyphs), "x2yi");
}

#[test]
fn the_mark_of_a_footnote_stands_apart() {
    let mark = Glyph {
        advance: 3.0,
        em: 6.0,
        size: 6.0,
        ..glyph('1', 0.0, 17.0)
    };
    assert_eq!(
        laid_out([vec![mark], words("See", 3.2, 20.0)].concat()),
        "1 See"
    );
}

#[test]
fn text_drawn_twice_in_one_place_is_read_once() {
    let glyphs = words("bold", 10.0, 20.0).into_iter().flat_map(|glyph| {
        [
            glyph,
            Glyph {
                x: glyph.x + 0.3,
                ..glyph
            },
        ]
    });
    assert_eq!(laid_out(glyphs), "bold");
}

#[test]
fn accents_drawn_over_letters_are_composed() {
    let accent = |c, x| Glyph {
        y: 19.0,
        ..glyph(c, x, 20.0)
    };
    let glyphs = [
        glyph('m', 0.0, 20.0),
        accent('\u{b4}', 5.2),
        glyph('e', 5.0, 20.0),
        accent('\u{a8}', 10.0),
        glyph('\u{131}', 10.0, 20.0),
    ];
    assert_eq!(laid_out(glyphs), "méï");
    let cedilla = [glyph('c', 0.0, 20.0), glyph('\u{b8}', 0.3, 20.0)];
    assert_eq!(laid_out(cedilla), "ç");
}

#[test]
fn accents_on_their_own_stay() {
    assert_eq!(laid_out(words("x^y ~z", 0.0, 20.0)), "x^y ~z");
}

#[test]
fn ligatures_read_as_their_letters() {
    let mut texts = Texts::default();
    let ffi = Glyph {
        text: texts.intern("ffi"),
        kind: Kind::LETTER,
        ..glyph('f', 5.0, 20.0)
    };
    let glyphs = [
        glyph('o', 0.0, 20.0),
        ffi,
        glyph('c', 10.0, 20.0),
        glyph('e', 15.0, 20.0),
    ];
    assert_eq!(laid_out_with(glyphs, &texts), "office");
}

#[test]
fn right_to_left_lines_are_turned_but_numbers_and_latin_words_are_not() {
    // Seen from left to right, as it stands on the page.
    let lines = [
        words(".1998 תנשב .Example Ltd הרבח", 0.0, 20.0),
        words("ףינסה תא החתפ", 50.0, 32.0),
    ];
    assert_eq!(
        laid_out(lines.concat()),
        "חברה Example Ltd. בשנת 1998.\nפתחה את הסניף"
    );
    assert_eq!(
        laid_out(words("12/05/2024-מ 1,250.50 לש ךס", 0.0, 20.0)),
        "סך של 1,250.50 מ-12/05/2024"
    );
}

#[test]
fn brackets_of_right_to_left_text_open_before_they_close() {
    assert_eq!(laid_out(words("(שדח) ףינס", 0.0, 20.0)), "סניף (חדש)");
    assert_eq!(laid_out(words(")שדח( ףינס", 0.0, 20.0)), "סניף (חדש)");
}

#[test]
fn right_to_left_words_in_a_left_to_right_line_are_turned_in_place() {
    assert_eq!(
        laid_out(words("they say םולש םלוע now", 0.0, 20.0)),
        "they say עולם שלום now"
    );
}

#[test]
fn right_to_left_glyphs_may_be_drawn_in_either_order() {
    let mut glyphs = words("םולש", 0.0, 20.0);
    glyphs.reverse();
    assert_eq!(laid_out(glyphs), "שלום");
}

#[test]
fn marks_go_to_the_letter_drawn_after_them_in_right_to_left_text() {
    let mark = |c, x| Glyph {
        advance: 0.0,
        ..glyph(c, x, 20.0)
    };
    let glyphs = [
        glyph('ב', 0.0, 20.0),
        mark('\u{5b8}', 4.9),
        glyph('א', 5.0, 20.0),
    ];
    assert_eq!(laid_out(glyphs), "א\u{5b8}ב");
}

#[test]
fn vertical_text_reads_down_and_then_to_the_left() {
    let column = |text: &str, x| -> Vec<Glyph> {
        let glyphs = text.chars().zip(0_u8..);
        glyphs
            .map(|(c, index)| Glyph {
                ux: 0.0,
                uy: 1.0,
                advance: SIZE,
                ..glyph(c, x, 10.0 + f32::from(index) * SIZE)
            })
            .collect()
    };
    assert_eq!(
        laid_out([column("山の上に", 100.0), column("小屋", 82.0)].concat()),
        "山の上に\n小屋"
    );
}

#[test]
fn stacked_glyphs_of_a_horizontal_font_read_as_vertical_text() {
    let column = |text: &str, x| -> Vec<Glyph> {
        text.chars()
            .zip(0_u8..)
            .map(|(c, index)| Glyph {
                advance: SIZE,
                ..glyph(c, x, 10.0 + f32::from(index) * SIZE)
            })
            .collect()
    };
    assert_eq!(
        laid_out([column("山の上に", 100.0), column("ある。", 82.0)].concat()),
        "山の上に\nある。"
    );
}

#[test]
fn ideographs_need_no_spaces_and_short_stacks_stay_lines() {
    assert_eq!(laid_out(wide("日本語", 10.0, 20.0)), "日本語");
    assert_eq!(
        laid_out([wide("甲", 10.0, 20.0), wide("乙", 10.0, 32.0)].concat()),
        "甲\n乙"
    );
}

#[test]
fn turned_text_is_read_along_its_own_direction() {
    let up = "up".chars().zip(0_u8..).map(|(c, index)| Glyph {
        ux: 0.0,
        uy: -1.0,
        ..glyph(c, 5.0, 300.0 - f32::from(index) * WIDTH)
    });
    let tilted = "tilt".chars().zip(0_u8..).map(|(c, index)| {
        let along = f32::from(index) * WIDTH;
        Glyph {
            ux: 0.8,
            uy: 0.6,
            ..glyph(c, 50.0 + 0.8 * along, 50.0 + 0.6 * along)
        }
    });
    assert_eq!(laid_out(up.chain(tilted)), "up\n\ntilt");
}

fn numbered(count: u8, line: impl Fn(u8, f32) -> Vec<Glyph>) -> Vec<Glyph> {
    (0..count)
        .flat_map(|index| line(index, 20.0 + 12.0 * f32::from(index)))
        .collect()
}

#[test]
fn columns_drawn_alternately_are_separated() {
    let left = |index: u8| format!("left column says line {index}");
    let right = |index: u8| format!("right column says lin {index}");
    let glyphs = numbered(8, |index, y| {
        [words(&left(index), 0.0, y), words(&right(index), 140.0, y)].concat()
    });
    let expected: Vec<String> = (0..8).map(left).chain((0..8).map(right)).collect();
    assert_eq!(laid_out(glyphs).replace("\n\n", "\n"), expected.join("\n"));
}

#[test]
fn right_to_left_pages_begin_with_the_right_column() {
    let glyphs = numbered(8, |_, y| {
        [
            words("הרוש תילאמש הדומע לש תחא", 0.0, y),
            words("הרוש תינמי הדומע לש תחא", 140.0, y),
        ]
        .concat()
    });
    let text = laid_out(glyphs);
    let (right, left) = ("אחת של עמודה ימנית שורה\n", "אחת של עמודה שמאלית שורה\n");
    assert!(
        text.starts_with(&right.repeat(2))
            && text.matches(right).count() == 8
            && text.contains(&left.repeat(2)),
        "{text}"
    );
}

#[test]
fn a_title_across_the_columns_stays_above_them() {
    let title = words("a title that goes across both columns of text", 20.0, 5.0);
    let body = numbered(8, |_, y| {
        [
            words("left column says a line", 0.0, y),
            words("right column says a line", 140.0, y),
        ]
        .concat()
    });
    let text = laid_out([title, body].concat());
    assert!(
        text.starts_with("a title that goes across both columns of text\n"),
        "{text}"
    );
    assert!(
        text.contains("left column says a line\nleft column says a line"),
        "{text}"
    );
}

#[test]
fn tables_keep_their_rows() {
    let cells = [
        "tea",
        "a pot of green tea",
        "bread",
        "rye",
        "soup",
        "tomato",
        "cake",
        "plum cake with cream",
    ];
    let glyphs = numbered(8, |index, y| {
        let item = cells[usize::from(index)];
        [
            words(item, 0.0, y),
            words(&format!("{index} pieces"), 140.0, y),
            words("9.50", 260.0, y),
        ]
        .concat()
    });
    assert!(laid_out(glyphs).starts_with("tea 0 pieces 9.50\na pot of green tea 1 pieces 9.50"));
}

#[test]
fn cells_drawn_from_right_to_left_read_from_left_to_right() {
    assert_eq!(
        laid_out([words("right", 100.0, 20.0), words("left", 0.0, 20.0)].concat()),
        "left right"
    );
}

#[test]
fn an_empty_page_is_empty() {
    assert_eq!(laid_out([]), "");
}

#[test]
fn absurd_numbers_do_no_harm() {
    let glyphs = [f32::MAX, f32::MIN, 0.0, 1e-30].map(|x| Glyph {
        advance: f32::MAX,
        em: f32::MAX,
        size: 1e-3,
        ..glyph('x', x, -x)
    });
    assert!(laid_out(glyphs).contains('x'));
}

#[test]
fn short_words_are_letter_spaced_too() {
    let spaced = |text: &str, x: f32, gap: f32| -> Vec<Glyph> {
        text.chars()
            .zip(0_u8..)
            .map(|(c, index)| glyph(c, x + f32::from(index) * (WIDTH + gap), 20.0))
            .collect()
    };
    assert_eq!(laid_out(spaced("PART", 0.0, 1.7)), "PART");
    assert_eq!(laid_out(spaced("TWO", 0.0, 2.0)), "TWO");
    assert_eq!(
        laid_out([spaced("PART", 0.0, 1.7), words("and so on", 31.0, 20.0)].concat()),
        "PART and so on"
    );
    // Two letters, or spaces of full width, are words of one letter each.
    assert_eq!(laid_out(spaced("ab", 0.0, 1.7)), "a b");
    assert_eq!(laid_out(spaced("abc", 0.0, 2.8)), "a b c");
}

#[test]
fn a_soft_hyphen_at_the_end_of_a_line_joins_its_word() {
    let broken = [
        words("Gesell\u{ad}", 10.0, 20.0),
        words("schaft", 10.0, 32.0),
    ];
    assert_eq!(laid_out(broken.concat()), "Gesellschaft");
    let far = [
        words("Gesell\u{ad}", 10.0, 20.0),
        words("schaft", 10.0, 300.0),
    ];
    assert_eq!(laid_out(far.concat()), "Gesellschaft");
    let last = words("end\u{ad}", 10.0, 20.0);
    assert_eq!(laid_out(last), "end\u{ad}");
}

#[test]
fn letters_that_come_close_by_chance_are_no_copies() {
    let lines = [words("aaaa", 0.0, 20.0), words("aaaa", 2.0, 23.1)];
    assert_eq!(laid_out(lines.concat()).matches('a').count(), 8);
}

#[test]
fn a_subscript_under_a_superscript_stands_apart() {
    let script = |c, x, y| Glyph {
        advance: 3.0,
        em: 7.0,
        size: 7.0,
        ..glyph(c, x, y)
    };
    // A square of an indexed letter, and a half.
    let square = [
        glyph('x', 0.0, 20.0),
        script('2', 5.0, 16.4),
        script('i', 5.0, 22.5),
    ];
    assert_eq!(laid_out(square), "x2 i");
    let half = [script('1', 0.0, 16.1), script('2', 0.0, 23.4)];
    assert_eq!(
        laid_out([words("a", -5.2, 20.0), half.to_vec()].concat()),
        "a1 2"
    );
}

#[test]
fn italic_letters_beside_signs_are_no_words() {
    let placed = |text: &str, x: f32| {
        let mut glyphs = words(text, x, 20.0);
        glyphs[0].kind = glyphs[0].kind | Kind::PLACED;
        glyphs
    };
    let drawn = |x: f32| Glyph {
        text: Text::SPACE,
        kind: Kind::SPACE,
        ..glyph(' ', x, 20.0)
    };
    let line = [
        words("to", 0.0, 20.0),
        vec![drawn(10.0)],
        placed("printf", 15.0),
        placed("(3)", 46.6),
    ];
    assert_eq!(laid_out(line.concat()), "to printf(3)");
    let line = [
        words("to", 0.0, 20.0),
        vec![drawn(10.0)],
        placed("one", 15.0),
        placed("two", 31.6),
    ];
    assert_eq!(laid_out(line.concat()), "to one two");
}
