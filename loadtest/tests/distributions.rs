//! Keys, sizes, times to live and arrival times follow the distributions that they are said to follow.
//!
//! Seeds are fixed, so these tests do not fail by chance; and each test's twin shows that a distribution that is
//! slightly off would be found out. Scores are in standard deviations of the normal distribution.

use std::path::Path;

use shoal_loadtest::arrivals::{Arrivals, Spacing, Step};
use shoal_loadtest::key_text::KeyText;
use shoal_loadtest::keys::{Added, KeyChooser};
use shoal_loadtest::random::Random;
use shoal_loadtest::requests::Requests;
use shoal_loadtest::sizes::{Histogram, Of, Sizes};
use shoal_loadtest::ttl::Ttls;
use shoal_loadtest::workload::{CommandSpec, Workload};

/// A score that a true distribution exceeds once in 4,000 seeds.
const LIMIT: f64 = 3.5;

/// Pearson's chi-square test: how far the counts are from the expected shares. Bins that expect less than ten are
/// put together with their neighbours. The score is that of Wilson and Hilferty.
fn chi_square(counts: &[u64], shares: &[f64]) -> f64 {
    assert_eq!(counts.len(), shares.len());
    let draws = counts.iter().sum::<u64>() as f64;
    let total: f64 = shares.iter().sum();
    let (mut bins, mut expected, mut seen) = (Vec::new(), 0.0, 0);
    for (count, share) in counts.iter().zip(shares) {
        expected += draws * share / total;
        seen += count;
        if expected >= 10.0 {
            bins.push((seen as f64, expected));
            (expected, seen) = (0.0, 0);
        }
    }
    if let Some(last) = bins.last_mut() {
        *last = (last.0 + seen as f64, last.1 + expected);
    }
    let chi: f64 = bins.iter().map(|(seen, expected)| (seen - expected).powi(2) / expected).sum();
    let freedom = bins.len() as f64 - 1.0;
    let spread = 2.0 / (9.0 * freedom);
    ((chi / freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
}

/// The test of Kolmogorov and Smirnov: the largest distance between the values' shares and the exact ones, in
/// multiples of 1 / sqrt(n). A true distribution exceeds 1.95 once in 1,000 seeds.
fn kolmogorov_smirnov(mut values: Vec<f64>, exact: impl Fn(f64) -> f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let mut worst = 0.0f64;
    let mut below = 0;
    for same in values.chunk_by(|a, b| a == b) {
        let up_to = below + same.len();
        worst = worst.max((exact(same[0]) - up_to as f64 / n).abs());
        // Between two values of a continuous distribution the share has not grown yet.
        if same.len() == 1 {
            worst = worst.max((exact(same[0]) - below as f64 / n).abs());
        }
        below = up_to;
    }
    worst * n.sqrt()
}

const KS_LIMIT: f64 = 1.95;

/// The share of the standard normal distribution below x (Abramowitz and Stegun 7.1.26, right to 1e-7).
fn normal_share(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let factors = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let tail = factors.iter().fold(0.0, |sum, factor| (sum + factor) * t) * (-z * z).exp() / 2.0;
    if x < 0.0 { tail } else { 1.0 - tail }
}

const KEYS: u64 = 10_000;
const DRAWS: usize = 1_000_000;

fn key_counts(distribution: &str, seed: u64) -> Vec<u64> {
    let distribution = distribution.parse().expect("a distribution");
    let mut chooser = KeyChooser::new(distribution, KEYS, Added::GoesRound, 0, 1);
    let mut random = Random::new(seed);
    let mut counts = vec![0; KEYS as usize];
    for _ in 0..DRAWS {
        counts[chooser.next(&mut random) as usize] += 1;
    }
    counts
}

fn zipf_shares(exponent: f64) -> Vec<f64> {
    let weights: Vec<f64> = (1..=KEYS).map(|rank| (rank as f64).powf(-exponent)).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// Sums over ranks 1, 2 to 3, 4 to 7 and so on.
fn doubling<T: Copy + std::iter::Sum>(of_ranks: &[T]) -> Vec<T> {
    let starts = (0..of_ranks.len().ilog2() + 1).map(|power| (1 << power) - 1);
    starts.map(|start| of_ranks[start..(2 * start + 1).min(of_ranks.len())].iter().copied().sum()).collect()
}

#[test]
fn zipf_keys() {
    for (seed, exponent) in [0.0, 0.2, 0.5, 0.8, 0.9, 0.99, 1.0, 1.01, 1.2, 1.5].into_iter().enumerate() {
        let counts = key_counts(&format!("zipf:{exponent}"), seed as u64);
        let score = chi_square(&counts, &zipf_shares(exponent));
        assert!(score < LIMIT, "zipf:{exponent}: {score}");
        // Ranks in bins that double find a wrong exponent sooner than each rank by itself.
        let score = chi_square(&doubling(&counts), &doubling(&zipf_shares(exponent)));
        assert!(score < LIMIT, "zipf:{exponent} in bins: {score}");
        for off in [-0.04, -0.01, 0.01, 0.04] {
            let score = chi_square(&doubling(&counts), &doubling(&zipf_shares(exponent + off)));
            assert!(score > LIMIT, "zipf:{exponent} passes for {}: {score}", exponent + off);
        }
        let score = chi_square(&counts, &zipf_shares(exponent + 0.04));
        assert!(score > LIMIT, "zipf:{exponent} passes for 0.04 more: {score}");
    }
}

#[test]
fn uniform_keys() {
    let counts = key_counts("uniform", 1);
    let score = chi_square(&counts, &vec![1.0; KEYS as usize]);
    assert!(score.abs() < LIMIT, "{score}");
    // Half of the keys a sixteenth more often than the other half.
    let slanted: Vec<f64> = (0..KEYS).map(|key| if key % 2 == 0 { 16.0 } else { 17.0 }).collect();
    assert!(chi_square(&counts, &slanted) > LIMIT);
    // Draws that are too even to be drawn are found out at the other end.
    assert!(chi_square(&key_counts("sequential", 1), &vec![1.0; KEYS as usize]) < -LIMIT);
}

#[test]
fn keys_of_a_hot_set() {
    let shares = |hot: u64| -> Vec<f64> {
        (0..KEYS).map(|key| if key < hot { 0.9 / hot as f64 } else { 0.1 / (KEYS - hot) as f64 }).collect()
    };
    let counts = key_counts("hotset:0.1:0.9", 2);
    let score = chi_square(&counts, &shares(1000));
    assert!(score < LIMIT, "{score}");
    assert!(chi_square(&counts, &shares(990)) > LIMIT);
    assert!(chi_square(&counts, &shares(1010)) > LIMIT);
    let sums = |counts: &[u64]| [counts[..1000].iter().sum::<u64>(), counts[1000..].iter().sum()];
    assert!(chi_square(&sums(&counts), &[0.9, 0.1]) < LIMIT);
    assert!(chi_square(&sums(&counts), &[0.898, 0.102]) > LIMIT);
}

#[test]
fn latest_keys() {
    let counts = key_counts("latest:0.99", 3);
    let back: Vec<u64> = counts.iter().rev().copied().collect();
    let score = chi_square(&back, &zipf_shares(0.99));
    assert!(score < LIMIT, "{score}");
    assert!(chi_square(&counts, &zipf_shares(0.99)) > LIMIT);
}

#[test]
fn keys_of_a_flash_crowd() {
    // A turn longer than the test, so that there is one hot key, the one asked for most.
    let counts = key_counts("flash:0.33:1m:0.5", 4);
    let hot = (0..KEYS as usize).max_by_key(|key| counts[*key]).unwrap();
    let shares = |requests: f64| {
        let mut shares: Vec<f64> = zipf_shares(0.5).iter().map(|share| share * (1.0 - requests)).collect();
        shares[hot] += requests;
        shares
    };
    let score = chi_square(&counts, &shares(0.33));
    assert!(score < LIMIT, "{score}");
    let sums = [counts[hot], DRAWS as u64 - counts[hot]];
    let expected = |requests: f64| [shares(requests)[hot], 1.0 - shares(requests)[hot]];
    assert!(chi_square(&sums, &expected(0.33)) < LIMIT);
    assert!(chi_square(&sums, &expected(0.325)) > LIMIT);
}

fn due_times(steps: Vec<Step>, spacing: Spacing, seed: u64, count: usize) -> Vec<u64> {
    let mut arrivals = Arrivals::new(steps, spacing, 0, 1);
    let mut random = Random::new(seed);
    (0..count).map(|_| arrivals.next(&mut random)).collect()
}

#[test]
fn poisson_arrivals() {
    let steady = vec![Step { rate: 1000.0, until: u64::MAX }];
    let gaps = |spacing| -> Vec<f64> {
        let times = due_times(steady.clone(), spacing, 5, 200_001);
        times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).collect()
    };
    let exponential = |mean: f64| move |gap: f64| 1.0 - (-gap / mean).exp();
    let score = kolmogorov_smirnov(gaps(Spacing::Poisson), exponential(1.0));
    assert!(score < KS_LIMIT, "{score}");
    assert!(kolmogorov_smirnov(gaps(Spacing::Poisson), exponential(1.02)) > KS_LIMIT);
    assert!(kolmogorov_smirnov(gaps(Spacing::Even), exponential(1.0)) > KS_LIMIT);
    // Gaps must not depend on the one before: pairs of short and long ones are as frequent as chance has it.
    let gaps = gaps(Spacing::Poisson);
    let median = std::f64::consts::LN_2;
    let mut pairs = [0; 4];
    for pair in gaps.chunks_exact(2) {
        pairs[usize::from(pair[0] > median) * 2 + usize::from(pair[1] > median)] += 1;
    }
    assert!(chi_square(&pairs, &[1.0; 4]) < LIMIT, "{pairs:?}");
}

#[test]
fn even_arrivals_are_exact() {
    for rate in [1.0, 3.0, 1000.0, 123_457.0] {
        let times = due_times(vec![Step { rate, until: u64::MAX }], Spacing::Even, 1, 100_000);
        for (index, time) in times.iter().enumerate() {
            let exact = index as f64 * 1e9 / rate;
            assert!(
                (*time as f64 - exact).abs() <= 1.0 + exact * 1e-12,
                "{rate}: {index} at {time}, not {exact}"
            );
        }
    }
}

#[test]
fn steps_hold_as_many_requests_as_their_rates_say() {
    let second = 1_000_000_000;
    let rates = [1000.0, 5000.0, 200.0, 20_000.0];
    let steps: Vec<Step> = rates
        .iter()
        .enumerate()
        .map(|(index, rate)| Step { rate: *rate, until: (index as u64 + 1) * 2 * second })
        .collect();
    for spacing in [Spacing::Even, Spacing::Poisson] {
        let times = due_times(steps.clone(), spacing, 6, 60_000);
        for (index, rate) in rates.iter().enumerate() {
            let (from, until) = (index as u64 * 2 * second, (index as u64 + 1) * 2 * second);
            let count = times.iter().filter(|time| (from..until).contains(*time)).count() as f64;
            let expected = 2.0 * rate;
            let most = if spacing == Spacing::Even { 1.0 } else { LIMIT * expected.sqrt() };
            assert!((count - expected).abs() <= most, "{spacing:?}: {count} instead of {expected}");
        }
    }
    // Threads share a rate: together they are as even as one.
    let mut all: Vec<u64> = (0..4)
        .flat_map(|part| {
            let mut arrivals =
                Arrivals::new(vec![Step { rate: 250.0, until: u64::MAX }], Spacing::Even, part, 4);
            (0..1000).map(|_| arrivals.next(&mut Random::new(1))).collect::<Vec<u64>>()
        })
        .collect();
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| (pair[1] - pair[0]).abs_diff(1_000_000) <= 1));
}

#[test]
fn normal_sizes() {
    let sizes: Sizes = "normal:1000:100".parse().unwrap();
    let drawn = || (0..200_000).map(|key| sizes.size(key) as f64).collect();
    // A size of n stands for all from n - 0.5 to n + 0.5.
    let share = |mean: f64, deviation: f64| move |size: f64| normal_share((size + 0.5 - mean) / deviation);
    let score = kolmogorov_smirnov(drawn(), share(1000.0, 100.0));
    assert!(score < KS_LIMIT, "{score}");
    assert!(kolmogorov_smirnov(drawn(), share(1002.0, 100.0)) > KS_LIMIT);
    assert!(kolmogorov_smirnov(drawn(), share(1000.0, 102.0)) > KS_LIMIT);
}

#[test]
fn uniform_sizes() {
    let sizes: Sizes = "100-299".parse().unwrap();
    let mut counts = vec![0; 200];
    (0..DRAWS as u64).for_each(|key| counts[sizes.size(key) - 100] += 1);
    assert!(chi_square(&counts, &[1.0; 200]).abs() < LIMIT);
    let slanted: Vec<f64> = (0..200).map(|size| 1.0 + f64::from(size) / 4000.0).collect();
    assert!(chi_square(&counts, &slanted) > LIMIT);
}

/// A file in CacheLib's format, with one range for values that holds nothing and others for keys.
const SIZES: &str = r#"{
    "valSizeRange": [1, 31, 63, 127, 1023, 4095, 500000],
    "valSizeRangeProbability": [11851, 1010, 2243135, 0, 8366545, 724067, 2],
    "keySizeRange": [8, 16, 64],
    "keySizeRangeProbability": [3, 7]
}"#;

#[test]
fn sizes_of_a_histogram() {
    let folder = std::env::temp_dir().join(format!("loadtest-sizes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("test.sizes.json");
    std::fs::write(&path, SIZES).unwrap();
    let values = Sizes::Histogram(Histogram::read(Path::new(&path), Of::Values).unwrap());
    let lengths = Sizes::Histogram(Histogram::read(Path::new(&path), Of::Keys).unwrap());
    std::fs::remove_dir_all(&folder).unwrap();

    let bounds = [1usize, 31, 63, 127, 1023, 4095, 500_000];
    let weights = [11851.0, 1010.0, 2_243_135.0, 0.0, 8_366_545.0, 724_067.0, 2.0];
    let mut counts = [0; 7];
    let mut within = vec![0u64; 3072];
    for key in 0..DRAWS as u64 {
        let size = values.size(key);
        counts[bounds.partition_point(|bound| *bound <= size) - 1] += 1;
        if (1023..4095).contains(&size) {
            within[size - 1023] += 1;
        }
    }
    assert_eq!(counts[3], 0);
    let score = chi_square(&counts, &weights);
    assert!(score < LIMIT, "{score}");
    let mut off = weights;
    off[2] *= 1.02;
    assert!(chi_square(&counts, &off) > LIMIT);
    // Within a range all sizes are as likely.
    assert!(chi_square(&within, &vec![1.0; within.len()]) < LIMIT);
    let ranges = |exact: [f64; 6]| {
        let sum: f64 = weights.iter().sum();
        move |size: f64| {
            let index = bounds.partition_point(|bound| *bound as f64 <= size) - 1;
            let low = bounds[index] as f64;
            let high = *bounds.get(index + 1).unwrap_or(&500_001) as f64;
            let before: f64 = exact[..index.min(6)].iter().sum();
            let weight = if index < 6 { exact[index] } else { 2.0 };
            (before + weight * (size + 1.0 - low) / (high - low)) / sum
        }
    };
    let drawn: Vec<f64> = (0..200_000).map(|key| values.size(key) as f64).collect();
    let exact = [11851.0, 1010.0, 2_243_135.0, 0.0, 8_366_545.0, 724_067.0];
    let score = kolmogorov_smirnov(drawn.clone(), ranges(exact));
    assert!(score < KS_LIMIT, "{score}");
    let swapped = [11851.0, 1010.0, 2_443_135.0, 0.0, 8_166_545.0, 724_067.0];
    assert!(kolmogorov_smirnov(drawn, ranges(swapped)) > KS_LIMIT);

    let keys = KeyText::varied("k", &lengths, KEYS);
    let long = (0..100_000).filter(|key| keys.length(*key) >= 16).count() as u64;
    assert!(chi_square(&[100_000 - long, long], &[0.3, 0.7]) < LIMIT, "{long}");
    assert!(chi_square(&[100_000 - long, long], &[0.32, 0.68]) > LIMIT);
}

#[test]
fn lengths_of_keys_sizes_and_times_of_one_key_are_independent() {
    let keys = KeyText::varied("k", &"100-109".parse().unwrap(), KEYS);
    let sizes: Sizes = "1-10".parse().unwrap();
    let ttls: Ttls = "1*3,2*4,3*2,none".parse().unwrap();
    let (mut lengths_and_sizes, mut sizes_and_times) = (vec![0; 100], vec![0; 40]);
    for key in 0..100_000 {
        let size = sizes.size(key) - 1;
        lengths_and_sizes[(keys.length(key) - 100) * 10 + size] += 1;
        sizes_and_times[size * 4 + ttls.seconds(key).unwrap_or(4) as usize - 1] += 1;
    }
    assert!(chi_square(&lengths_and_sizes, &[1.0; 100]) < LIMIT);
    let mix = [3.0, 4.0, 2.0, 1.0].repeat(10);
    let score = chi_square(&sizes_and_times, &mix);
    assert!(score < LIMIT, "{score}");
    assert!(chi_square(&sizes_and_times, &[3.2, 3.8, 2.0, 1.0].repeat(10)) > LIMIT);
}

#[test]
fn commands_and_numbers_of_keys() {
    let workload = Workload {
        commands: vec![
            CommandSpec::new("GET {key}", 70),
            CommandSpec::new("MGET {keys:1-10}", 25),
            CommandSpec::new("PING", 5),
        ],
        ..Workload::default()
    };
    let mut requests = Requests::new(&workload, 0, 1).unwrap();
    let (mut commands, mut keys) = ([0; 3], [0; 10]);
    let mut out = Vec::new();
    for _ in 0..200_000 {
        out.clear();
        let about = requests.next(&mut out);
        commands[usize::from(about.command())] += 1;
        if about.command() == 1 {
            keys[about.keys() as usize - 1] += 1;
        }
    }
    assert!(chi_square(&commands, &[70.0, 25.0, 5.0]) < LIMIT, "{commands:?}");
    assert!(chi_square(&commands, &[69.0, 26.0, 5.0]) > LIMIT);
    assert!(chi_square(&keys, &[1.0; 10]) < LIMIT, "{keys:?}");
}
