// ExponentialHistogram: how values are distributed over any range, to 1 % and in a kilobyte or two.
// Use it for latencies, sizes and costs, where quantiles are wanted and nobody knows beforehand
// where the values will lie.
//
// Its buckets are those of OpenTelemetry's exponential histogram, which are also those of a native
// histogram of Prometheus (whose indexes are greater by one): at scale s the buckets' bounds are the
// powers of 2^(2^-s), and bucket i holds what is greater than the i-th power and not greater than
// the next. It begins at scale 5, with 32 buckets to a power of two. What is below zero has buckets
// of its own, by magnitude; what lies within kZeroThreshold of zero is counted as zero.
//
// Either side spans at most kMostBuckets buckets, 32 powers of two at scale 5. For values further
// apart the scale goes down: each time two neighbours become one bucket, exactly, and the relative
// error doubles. The scale is always the greatest at which both sides fit, so it depends on which
// values were recorded and not on their order, nor on how they were spread over histograms that
// were merged later: merging is commutative and associative, and exact in all but the sum, which is
// a sum of doubles.
//
// Error: a quantile is that of some value in the bucket of the true one, at most relative_accuracy()
// of the true one away: 1.083 % at scale 5. The bucket's harmonic mean is what makes the error the
// same at both of its ends; see C. Masson, J. E. Rim and H. K. Lee, "DDSketch: a fast and
// fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <variant>
#include <vector>

namespace millpond {

// Consecutive buckets, each a counter of 1, 2, 4 or 8 bytes: all as wide as the largest needs.
class BucketRun {
  public:
    [[nodiscard]] bool empty() const noexcept { return last_ < first_; }
    // The lowest and the highest index that was counted. REQUIRES: !empty().
    [[nodiscard]] int first() const noexcept { return first_; }
    [[nodiscard]] int last() const noexcept { return last_; }
    // The sum of all counts.
    [[nodiscard]] std::uint64_t total() const noexcept { return total_; }
    // The bucket of the value that has this rank, counted from 1 at the lowest. O(buckets).
    // REQUIRES: 1 <= rank <= total().
    [[nodiscard]] int index_of(std::uint64_t rank) const noexcept;
    // The count of a bucket, 0 for one outside. O(1).
    [[nodiscard]] std::uint64_t operator[](int index) const noexcept;

    // Calls visit(index, count) for each bucket that has one, in order.
    template <class Visit>
    void for_each(Visit&& visit) const {
        std::visit(
            [&](const auto& cells) {
                for (int index = first_; index <= last_; ++index) {
                    if (const auto count = cells[cell(index)]; count != 0) {
                        visit(index, std::uint64_t{count});
                    }
                }
            },
            cells_);
    }

    // Counts; grows as needed. O(1) amortised. Throws std::bad_alloc and changes nothing.
    void add(int index, std::uint64_t count);
    // What absorb() needs. Throws std::bad_alloc and changes nothing that can be seen.
    void prepare(const BucketRun& other, int shift);
    // Adds the buckets of `other`, whose scale is greater by `shift`. REQUIRES: prepare() of the same.
    void absorb(const BucketRun& other, int shift) noexcept;
    // The same counts at a scale that is lower by `shift`.
    [[nodiscard]] BucketRun lowered(int shift) const;
    [[nodiscard]] std::size_t allocated_bytes() const noexcept;

    // By counts, however wide they are kept.
    friend bool operator==(const BucketRun& a, const BucketRun& b) noexcept;

  private:
    // Room is made for whole chunks: one power of two at scale 5.
    static constexpr int kChunk = 32;

    [[nodiscard]] std::size_t cell(int index) const noexcept {
        return static_cast<std::size_t>(index - base_);
    }
    void reserve(int first, int last);
    void extend(int first, int last) noexcept;
    void widen();
    [[nodiscard]] std::uint64_t widest() const noexcept;
    [[nodiscard]] std::uint64_t most() const noexcept;

    std::variant<std::vector<std::uint8_t>, std::vector<std::uint16_t>, std::vector<std::uint32_t>,
                 std::vector<std::uint64_t>>
        cells_;
    std::uint64_t total_ = 0;
    int base_ = 0;  // the index of the first cell
    int first_ = 0;
    int last_ = -1;
};

// Not thread-safe: the owner's lock covers it. Empty, it owns no memory; full, at most 16 KiB.
class ExponentialHistogram {
  public:
    static constexpr int kScale = 5;
    static constexpr int kMostBuckets = 1024;
    static constexpr double kZeroThreshold = 1e-9;

    // Counts `value`, `count` times. False, and nothing is counted, for what is not a finite number.
    // O(1), about 10 ns. Throws std::bad_alloc; nothing is counted then, the scale may have gone down.
    bool record(double value, std::uint64_t count = 1);
    // Adds all that `other` has counted. O(buckets). Throws std::bad_alloc; its counts are the same
    // then, its scale may have gone down.
    void merge(const ExponentialHistogram& other);
    void reset() noexcept { *this = ExponentialHistogram(); }

    [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
    [[nodiscard]] double sum() const noexcept { return sum_; }
    // Exact; NaN when empty.
    [[nodiscard]] double min() const noexcept { return count_ == 0 ? kNothing : min_; }
    [[nodiscard]] double max() const noexcept { return count_ == 0 ? kNothing : max_; }
    // The least recorded value that at least q of all values do not exceed ("nearest rank"), off by
    // at most relative_accuracy(), or kZeroThreshold where it counted as zero; never outside min()
    // and max(), which are what q = 0 and q = 1 give. NaN when empty. O(buckets).
    // REQUIRES: 0 <= q <= 1.
    [[nodiscard]] double quantile(double q) const noexcept;
    // The relative error of quantiles: 0.01083 at scale 5, about double for each scale less.
    [[nodiscard]] double relative_accuracy() const noexcept;

    // ---- For exporters
    [[nodiscard]] int scale() const noexcept { return scale_; }
    [[nodiscard]] std::uint64_t zeros() const noexcept { return zeros_; }
    [[nodiscard]] const BucketRun& positive() const noexcept { return positive_; }
    [[nodiscard]] const BucketRun& negative() const noexcept { return negative_; }
    [[nodiscard]] std::size_t allocated_bytes() const noexcept {
        return positive_.allocated_bytes() + negative_.allocated_bytes();
    }

    // The bucket of a magnitude at kScale. Exact. REQUIRES: finite and not subnormal, above 0.
    [[nodiscard]] static int bucket_of(double magnitude) noexcept;
    // The lower bound of a bucket, which it does not include itself.
    [[nodiscard]] static double lower_bound(int index, int scale) noexcept;

    // By everything but the sum.
    friend bool operator==(const ExponentialHistogram& a, const ExponentialHistogram& b) noexcept;

  private:
    static constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

    void lower_scale(int shift);
    [[nodiscard]] double value_at(std::uint64_t rank) const noexcept;
    [[nodiscard]] double middle(int index) const noexcept;

    BucketRun positive_;
    BucketRun negative_;
    std::uint64_t zeros_ = 0;
    std::uint64_t count_ = 0;
    double sum_ = 0;
    double min_ = std::numeric_limits<double>::infinity();
    double max_ = -std::numeric_limits<double>::infinity();
    int scale_ = kScale;
};

}  // namespace millpond
