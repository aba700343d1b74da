#include "millpond/base/mapped_stamp.hpp"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "millpond/base/error.hpp"

namespace millpond {
namespace {

class MappedStampTest : public testing::Test {
  protected:
    MappedStampTest() {
        std::string name = testing::TempDir() + "stampXXXXXX";
        folder_ = ::mkdtemp(name.data());
    }
    ~MappedStampTest() override { std::filesystem::remove_all(folder_); }
    [[nodiscard]] std::string path() const { return folder_ / "stamp"; }
    void write(const std::string& bytes) const { std::ofstream(path()) << bytes; }

    std::filesystem::path folder_;
};

TEST_F(MappedStampTest, IsZeroAtFirstAndTheOwnersAlone) {
    const mode_t before = ::umask(0777);
    const MappedStamp stamp(path());
    ::umask(before);

    EXPECT_EQ(stamp.value(), 0U);
    EXPECT_EQ(stamp.announced(), 0U);
    struct stat status{};
    ASSERT_EQ(::stat(path().c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0600U);
    EXPECT_EQ(status.st_size, 4096);
}

TEST_F(MappedStampTest, TwoMappingsOfAFileAreOneNumber) {
    MappedStamp one(path());
    const MappedStamp other(path());

    one.advance(7);

    EXPECT_EQ(other.value(), 1U);
    EXPECT_EQ(*other.word(), 1U);
    EXPECT_EQ(other.announced(), 7U);
}

TEST_F(MappedStampTest, EveryAdvanceChangesTheNumberAndTheAnnouncedNeverFalls) {
    MappedStamp stamp(path());

    EXPECT_EQ(stamp.advance(9), 1U);
    EXPECT_EQ(stamp.advance(8), 2U);
    EXPECT_EQ(stamp.announced(), 9U);
}

TEST_F(MappedStampTest, ARestartChangesTheNumberAndTheEpoch) {
    MappedStamp stamp(path());
    stamp.advance(9);
    const std::uint64_t epoch = stamp.epoch();

    stamp.restart();

    EXPECT_EQ(stamp.value(), 2U);
    EXPECT_EQ(stamp.announced(), 0U);
    EXPECT_NE(stamp.epoch(), epoch);
}

TEST_F(MappedStampTest, OutlivesItsProcess) {
    std::make_unique<MappedStamp>(path())->advance(3);

    EXPECT_EQ(MappedStamp(path()).announced(), 3U);
}

TEST_F(MappedStampTest, NoAdvanceOfSeveralProcessesAndThreadsIsLost) {
    constexpr int kProcesses = 3;
    constexpr int kThreads = 3;
    constexpr int kAdvances = 10'000;
    MappedStamp inherited(path());
    for (int process = 0; process < kProcesses; ++process) {
        if (::fork() == 0) {
            // One uses the mapping that it inherited, the others their own.
            const auto own = std::make_unique<MappedStamp>(path());
            MappedStamp& stamp = process == 0 ? inherited : *own;
            for (int i = 1; i <= kAdvances; ++i) {
                stamp.advance(static_cast<std::uint64_t>(i));
            }
            ::_exit(0);
        }
    }
    std::vector<std::thread> threads;
    threads.reserve(kThreads);
    for (int thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back([&] {
            for (int i = 1; i <= kAdvances; ++i) {
                inherited.advance(static_cast<std::uint64_t>(i));
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    for (int process = 0; process < kProcesses; ++process) {
        int status = -1;
        ASSERT_GT(::wait(&status), 0);
        EXPECT_EQ(status, 0);
    }

    EXPECT_EQ(inherited.value(), static_cast<std::uint64_t>((kProcesses + kThreads) * kAdvances));
    EXPECT_EQ(inherited.announced(), static_cast<std::uint64_t>(kAdvances));
}

TEST_F(MappedStampTest, AFileThatIsSomethingElseIsLeftAsItIs) {
    for (const std::string& bytes : {std::string("short"), std::string(4096, 'x')}) {
        write(bytes);

        EXPECT_THROW(MappedStamp{path()}, Error);

        std::ifstream file(path());
        EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), bytes);
    }
}

TEST_F(MappedStampTest, WhatTheSystemRefusesCarriesItsErrno) {
    std::filesystem::create_symlink(folder_ / "elsewhere", path());
    try {
        const MappedStamp stamp(path());
        ADD_FAILURE() << "a symbolic link was followed";
    } catch (const std::system_error& error) {
        EXPECT_EQ(error.code().value(), ELOOP);
    }
    EXPECT_THROW(MappedStamp{folder_ / "missing" / "stamp"}, std::system_error);
    EXPECT_THROW(MappedStamp{folder_}, std::system_error);
}

}  // namespace
}  // namespace millpond
