#include "millpond/base/histogram.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cmath>
#include <type_traits>
#include <utility>

namespace millpond {
namespace {

constexpr int kMantissaBits = 52;
constexpr std::uint64_t kMantissa = (std::uint64_t{1} << kMantissaBits) - 1;
constexpr std::uint64_t kBuckets = std::uint64_t{1} << ExponentialHistogram::kScale;

// For k from 0 to 31 the least mantissa, without its leading one, of a number above 2^(k/32). They
// were computed with 60 digits. All but the first power are irrational, so none is met exactly.
constexpr std::array<std::uint64_t, kBuckets> kAbove = {
    0x0000000000001U, 0x059b0d3158575U, 0x0b5586cf98910U, 0x11301d0125b51U,  //
    0x172b83c7d517bU, 0x1d4873168b9abU, 0x2387a6e756239U, 0x29e9df51fdee2U,  //
    0x306fe0a31b716U, 0x371a7373aa9cbU, 0x3dea64c123423U, 0x44e086061892eU,  //
    0x4bfdad5362a28U, 0x5342b569d4f82U, 0x5ab07dd48542aU, 0x6247eb03a5585U,  //
    0x6a09e667f3bcdU, 0x71f75e8ec5f74U, 0x7a11473eb0187U, 0x82589994cce13U,  //
    0x8ace5422aa0dcU, 0x93737b0cdc5e5U, 0x9c49182a3f091U, 0xa5503b23e255dU,  //
    0xae89f995ad3aeU, 0xb7f76f2fb5e47U, 0xc199bdd85529dU, 0xcb720dcef906aU,  //
    0xd5818dcfba488U, 0xdfc97337b9b5fU, 0xea4afa2a490daU, 0xf50765b6e4541U,
};

// How many of those powers lie below the start of each 64th of the mantissa. A 64th is narrower than
// a bucket, so that at most one more lies below any number in it.
constexpr int kGuessBits = 6;
constexpr auto kBelow = [] {
    std::array<std::uint8_t, std::size_t{1} << kGuessBits> below{};
    for (std::uint64_t part = 0; part < below.size(); ++part) {
        const std::uint64_t start = part << (kMantissaBits - kGuessBits);
        below[part] = static_cast<std::uint8_t>(
            std::ranges::count_if(kAbove, [start](std::uint64_t above) { return above <= start; }));
    }
    return below;
}();
static_assert([] {
    for (std::size_t part = 0; part + 1 < kBelow.size(); ++part) {
        if (kBelow[part + 1] > kBelow[part] + 1) {
            return false;
        }
    }
    return kBelow.back() >= kBuckets - 1;
}());

// By how much the scale has to go down until what lies between two indexes fits.
int shift_to_fit(int first, int last) noexcept {
    int shift = 0;
    while ((last >> shift) - (first >> shift) >= ExponentialHistogram::kMostBuckets) {
        ++shift;
    }
    return shift;
}

}  // namespace

// ---- BucketRun

std::uint64_t BucketRun::operator[](int index) const noexcept {
    if (index < first_ || index > last_) {
        return 0;
    }
    return std::visit(
        [&](const auto& cells) { return static_cast<std::uint64_t>(cells[cell(index)]); }, cells_);
}

int BucketRun::index_of(std::uint64_t rank) const noexcept {
    assert(rank >= 1 && rank <= total_);
    return std::visit(
        [&](const auto& cells) {
            int index = first_;
            for (std::uint64_t below = cells[cell(index)]; below < rank;) {
                below += cells[cell(++index)];
            }
            return index;
        },
        cells_);
}

void BucketRun::add(int index, std::uint64_t count) {
    if (empty() || index < first_ || index > last_) {
        reserve(index, index);
    }
    const auto counted = [&](auto& cells) {
        auto& counter = cells[cell(index)];
        using Counter = std::remove_reference_t<decltype(counter)>;
        const auto room = static_cast<std::uint64_t>(std::numeric_limits<Counter>::max()) - counter;
        if (count > room) {
            return false;
        }
        counter = static_cast<Counter>(counter + count);
        return true;
    };
    while (!std::visit(counted, cells_)) {
        widen();
    }
    total_ += count;
    extend(index, index);
}

void BucketRun::extend(int first, int last) noexcept {
    const bool first_ever = empty();
    first_ = first_ever ? first : std::min(first_, first);
    last_ = first_ever ? last : std::max(last_, last);
}

// Makes room for both; the range that was counted stays as it is.
void BucketRun::reserve(int first, int last) {
    const auto size =
        static_cast<int>(std::visit([](auto& cells) { return cells.size(); }, cells_));
    int from = first & ~(kChunk - 1);
    int to = (last | (kChunk - 1)) + 1;
    if (size != 0) {
        from = std::min(from, base_);
        to = std::max(to, base_ + size);
        if (from == base_ && to == base_ + size) {
            return;
        }
    }
    std::visit(
        [&](auto& cells) {
            std::remove_reference_t<decltype(cells)> wider(static_cast<std::size_t>(to - from));
            std::ranges::copy(cells, wider.begin() + (size != 0 ? base_ - from : 0));
            cells.swap(wider);
        },
        cells_);
    base_ = from;
}

void BucketRun::widen() {
    std::visit(
        [this](const auto& cells) {
            using Counter = typename std::remove_cvref_t<decltype(cells)>::value_type;
            if constexpr (sizeof(Counter) == 1) {
                cells_ = std::vector<std::uint16_t>(cells.begin(), cells.end());
            } else if constexpr (sizeof(Counter) == 2) {
                cells_ = std::vector<std::uint32_t>(cells.begin(), cells.end());
            } else {
                assert(sizeof(Counter) == 4);  // Nobody counts to 2^64.
                cells_ = std::vector<std::uint64_t>(cells.begin(), cells.end());
            }
        },
        std::as_const(cells_));
}

std::uint64_t BucketRun::widest() const noexcept {
    return std::visit(
        [](const auto& cells) {
            using Counter = typename std::remove_cvref_t<decltype(cells)>::value_type;
            return static_cast<std::uint64_t>(std::numeric_limits<Counter>::max());
        },
        cells_);
}

std::uint64_t BucketRun::most() const noexcept {
    return std::visit(
        [](const auto& cells) {
            typename std::remove_cvref_t<decltype(cells)>::value_type most = 0;
            for (const auto count : cells) {
                most = std::max(most, count);
            }
            return static_cast<std::uint64_t>(most);
        },
        cells_);
}

void BucketRun::prepare(const BucketRun& other, int shift) {
    if (other.empty()) {
        return;
    }
    reserve(other.first_ >> shift, other.last_ >> shift);
    // 2^shift of its buckets may come together; there are no more than kMostBuckets in all.
    const std::uint64_t theirs = other.most();
    const std::uint64_t together = theirs << std::min(shift, std::countl_zero(theirs | 1));
    const std::uint64_t mine = most();
    while (together > widest() - mine && widest() != std::numeric_limits<std::uint64_t>::max()) {
        widen();
    }
}

void BucketRun::absorb(const BucketRun& other, int shift) noexcept {
    if (other.empty()) {
        return;
    }
    std::visit(
        [&](auto& cells) {
            using Counter = typename std::remove_cvref_t<decltype(cells)>::value_type;
            std::visit(
                [&](const auto& theirs) {
                    const auto* from = theirs.data() + other.cell(other.first_);
                    if (shift == 0) {  // In one go, which the compiler makes vectors of.
                        auto* const to = cells.data() + cell(other.first_);
                        const int count = other.last_ - other.first_ + 1;
                        for (int i = 0; i < count; ++i) {
                            to[i] = static_cast<Counter>(to[i] + from[i]);
                        }
                        return;
                    }
                    for (int index = other.first_; index <= other.last_; ++index) {
                        auto& to = cells[cell(index >> shift)];
                        to = static_cast<Counter>(to + *from++);
                    }
                },
                other.cells_);
        },
        cells_);
    total_ += other.total_;
    extend(other.first_ >> shift, other.last_ >> shift);
}

BucketRun BucketRun::lowered(int shift) const {
    BucketRun run;
    run.prepare(*this, shift);
    run.absorb(*this, shift);
    return run;
}

std::size_t BucketRun::allocated_bytes() const noexcept {
    return std::visit([](const auto& cells) { return cells.capacity() * sizeof(cells.front()); },
                      cells_);
}

bool operator==(const BucketRun& a, const BucketRun& b) noexcept {
    if (a.first_ != b.first_ || a.last_ != b.last_) {
        return false;
    }
    for (int index = a.first_; index <= a.last_; ++index) {
        if (a[index] != b[index]) {
            return false;
        }
    }
    return true;
}

// ---- ExponentialHistogram

int ExponentialHistogram::bucket_of(double magnitude) noexcept {
    const auto bits = std::bit_cast<std::uint64_t>(magnitude);
    const auto exponent = static_cast<int>(bits >> kMantissaBits) - 1023;
    const std::uint64_t mantissa = bits & kMantissa;
    int below = kBelow[mantissa >> (kMantissaBits - kGuessBits)];
    if (below < static_cast<int>(kBuckets) && mantissa >= kAbove[static_cast<std::size_t>(below)]) {
        ++below;
    }
    return exponent * static_cast<int>(kBuckets) + below - 1;
}

double ExponentialHistogram::lower_bound(int index, int scale) noexcept {
    return std::exp2(std::ldexp(static_cast<double>(index), -scale));
}

bool ExponentialHistogram::record(double value, std::uint64_t count) {
    const double magnitude = std::fabs(value);
    if (!(magnitude <= std::numeric_limits<double>::max())) {
        return false;
    }
    if (count == 0) {
        return true;
    }
    if (magnitude > kZeroThreshold) {
        BucketRun& side = value > 0 ? positive_ : negative_;
        int index = bucket_of(magnitude) >> (kScale - scale_);
        if (!side.empty() && (index < side.first() || index > side.last())) {
            const int shift =
                shift_to_fit(std::min(index, side.first()), std::max(index, side.last()));
            lower_scale(shift);
            index >>= shift;
        }
        side.add(index, count);
    } else {
        zeros_ += count;
    }
    count_ += count;
    sum_ += value * static_cast<double>(count);
    min_ = std::min(min_, value);
    max_ = std::max(max_, value);
    return true;
}

void ExponentialHistogram::lower_scale(int shift) {
    if (shift > 0) {
        BucketRun positive = positive_.lowered(shift);
        BucketRun negative = negative_.lowered(shift);
        positive_ = std::move(positive);
        negative_ = std::move(negative);
        scale_ -= shift;
    }
}

void ExponentialHistogram::merge(const ExponentialHistogram& other) {
    if (&other == this) {
        return merge(ExponentialHistogram(other));
    }
    if (other.scale_ < scale_) {
        lower_scale(scale_ - other.scale_);
    }
    int shift = 0;  // from what both have now to where both fit
    const int coarser = other.scale_ - scale_;
    const std::array sides = {std::pair{&positive_, &other.positive_},
                              std::pair{&negative_, &other.negative_}};
    for (const auto& [mine, theirs] : sides) {
        if (!mine->empty() && !theirs->empty()) {
            shift =
                std::max(shift, shift_to_fit(std::min(mine->first(), theirs->first() >> coarser),
                                             std::max(mine->last(), theirs->last() >> coarser)));
        }
    }
    lower_scale(shift);
    for (const auto& [mine, theirs] : sides) {
        mine->prepare(*theirs, coarser + shift);
    }
    for (const auto& [mine, theirs] : sides) {
        mine->absorb(*theirs, coarser + shift);
    }
    zeros_ += other.zeros_;
    count_ += other.count_;
    sum_ += other.sum_;
    min_ = std::min(min_, other.min_);
    max_ = std::max(max_, other.max_);
}

double ExponentialHistogram::relative_accuracy() const noexcept {
    const double base = std::exp2(std::exp2(-scale_));
    return (base - 1) / (base + 1);
}

// The harmonic mean of a bucket's bounds, which is as far from both of them in relation to each.
double ExponentialHistogram::middle(int index) const noexcept {
    const double base = std::exp2(std::exp2(-scale_));
    return lower_bound(index, scale_) * (2 * base / (base + 1));
}

double ExponentialHistogram::quantile(double q) const noexcept {
    assert(q >= 0 && q <= 1);
    if (count_ == 0) {
        return kNothing;
    }
    const double wanted = std::ceil(q * static_cast<double>(count_));
    if (wanted <= 1) {
        return min_;
    }
    if (wanted >= static_cast<double>(count_)) {
        return max_;
    }
    return std::clamp(value_at(static_cast<std::uint64_t>(wanted)), min_, max_);
}

// The value of this rank, counted from 1 at the least. REQUIRES: rank <= count_.
double ExponentialHistogram::value_at(std::uint64_t rank) const noexcept {
    if (rank <= negative_.total()) {
        return -middle(negative_.index_of(negative_.total() - rank + 1));
    }
    rank -= negative_.total();
    return rank <= zeros_ ? 0 : middle(positive_.index_of(rank - zeros_));
}

bool operator==(const ExponentialHistogram& a, const ExponentialHistogram& b) noexcept {
    return a.scale_ == b.scale_ && a.count_ == b.count_ && a.zeros_ == b.zeros_ &&
           a.positive_ == b.positive_ && a.negative_ == b.negative_ &&
           (a.count_ == 0 || (a.min_ == b.min_ && a.max_ == b.max_));
}

}  // namespace millpond
