#include "millpond/base/mapped_stamp.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <system_error>

#include <fmt/format.h>

#include "millpond/base/error.hpp"

namespace millpond {
namespace {

// "mpstamp" and the version of the layout.
constexpr std::uint64_t kMagic = 0x6D70'7374'616D'7001;
constexpr std::size_t kLine = 64;
constexpr std::size_t kBytes = 4096;

// Closes a descriptor when a constructor is left by an exception too; a mapping does not need it.
class Descriptor {
  public:
    explicit Descriptor(int number) noexcept : number_(number) {}
    ~Descriptor() { ::close(number_); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    [[nodiscard]] int number() const noexcept { return number_; }

  private:
    int number_;
};

[[noreturn]] void fail(int error, const char* what, const std::string& path) {
    throw std::system_error(error, std::generic_category(), fmt::format("{} {}", what, path));
}

int open_or_make(const std::string& path) {
    const int number = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (number < 0) {
        fail(errno, "opening", path);
    }
    return number;
}

}  // namespace

// What is written often stands on cache lines of its own.
struct MappedStamp::Page {
    std::uint64_t magic;
    alignas(kLine) std::uint64_t value;
    alignas(kLine) std::uint64_t announced;
    alignas(kLine) std::uint64_t epoch;
};

MappedStamp::MappedStamp(const std::string& path) {
    static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);
    static_assert(sizeof(Page) <= kBytes);
    const Descriptor file(open_or_make(path));
    struct stat status{};
    if (::fstat(file.number(), &status) != 0) {
        fail(errno, "looking at", path);
    }
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (!S_ISREG(status.st_mode) || (size != 0 && size != kBytes)) {
        throw Error(ErrorCode::Corrupt, fmt::format("{} is no stamp of millpond's", path));
    }
    if (size == 0) {
        // The umask may have taken from what the owner is meant to have.
        (void)::fchmod(file.number(), 0600);
        if (const int error = ::posix_fallocate(file.number(), 0, kBytes); error != 0) {
            fail(error, "reserving space for", path);
        }
    }
    void* memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.number(), 0);
    if (memory == MAP_FAILED) {  // NOLINT(performance-no-int-to-ptr) (a macro of the system's)
        fail(errno, "mapping", path);
    }
    page_ = static_cast<Page*>(memory);
    // Zeros are a new file, whichever of several makers comes first.
    std::uint64_t magic = 0;
    if (!std::atomic_ref(page_->magic).compare_exchange_strong(magic, kMagic) && magic != kMagic) {
        ::munmap(memory, kBytes);
        throw Error(ErrorCode::Corrupt, fmt::format("{} is no stamp of millpond's", path));
    }
}

MappedStamp::~MappedStamp() { ::munmap(page_, kBytes); }

std::uint64_t MappedStamp::value() const noexcept {
    return std::atomic_ref(page_->value).load(std::memory_order_acquire);
}

std::uint64_t MappedStamp::advance(std::uint64_t sequence) noexcept {
    const std::atomic_ref announced(page_->announced);
    std::uint64_t seen = announced.load(std::memory_order_relaxed);
    while (seen < sequence && !announced.compare_exchange_weak(seen, sequence)) {
    }
    return std::atomic_ref(page_->value).fetch_add(1) + 1;
}

std::uint64_t MappedStamp::announced() const noexcept {
    return std::atomic_ref(page_->announced).load(std::memory_order_acquire);
}

void MappedStamp::restart() noexcept {
    std::atomic_ref(page_->announced).store(0);
    std::atomic_ref(page_->epoch).fetch_add(1);
    std::atomic_ref(page_->value).fetch_add(1);
}

std::uint64_t MappedStamp::epoch() const noexcept {
    return std::atomic_ref(page_->epoch).load(std::memory_order_acquire);
}

const std::uint64_t* MappedStamp::word() const noexcept { return &page_->value; }

}  // namespace millpond
