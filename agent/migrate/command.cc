// See command.h.
#include "agent/migrate/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "api/base/fd.h"

namespace sluice::migrate {
namespace {

using Clock = std::chrono::steady_clock;

struct Pipe {
    Fd read, write;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno_error(errno, "a pipe");
    return Pipe{Fd(ends[0]), Fd(ends[1])};
}

// A file without a name that holds the text, to be read from its begin.
Result<Fd> as_file(std::string_view text) {
    Fd file(::memfd_create("sluice-input", MFD_CLOEXEC));
    if (!file) return errno_error(errno, "a file in memory");
    while (!text.empty()) {
        const ssize_t some = ::write(file.get(), text.data(), text.size());
        if (some < 0 && errno == EINTR) continue;
        if (some < 0) return errno_error(errno, "writing to a file in memory");
        text.remove_prefix(static_cast<std::size_t>(some));
    }
    if (::lseek(file.get(), 0, SEEK_SET) != 0) return errno_error(errno, "a file in memory");
    return file;
}

Result<pid_t> spawn(const std::vector<std::string>& argv, int in, int out, int err) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
    sigset_t none, all;
    sigemptyset(&none);
    sigemptyset(&all);
    sigaddset(&all, SIGPIPE);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    std::vector<char*> words;
    for (const auto& word : argv) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    // Nothing of the agent's environment matters to these programs.
    std::array<char*, 1> environment{nullptr};
    pid_t child = 0;
    const int error =
        ::posix_spawn(&child, words[0], &actions, &attributes, words.data(), environment.data());
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (error != 0) return errno_error(error, "starting {}", argv[0]);
    return child;
}

// Reads both ends until they are closed.
Result<void> collect(const Pipe& out, const Pipe& err, Clock::time_point deadline, const std::string& name,
                     const std::function<Result<void>(std::string_view)>& take, std::string* error_text) {
    std::array<pollfd, 2> ends{{{out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}}};
    std::array<char, 65536> buffer{};
    std::uint64_t total = 0;
    while (ends[0].fd >= 0 || ends[1].fd >= 0) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
        if (left <= 0) return make_error(Code::kDeadlineExceeded, "{} takes too long", name);
        const int ready = ::poll(ends.data(), ends.size(), static_cast<int>(left));
        if (ready < 0 && errno != EINTR) return errno_error(errno, "waiting for {}", name);
        for (std::size_t i = 0; ready > 0 && i < ends.size(); ++i) {
            if (ends[i].fd < 0 || ends[i].revents == 0) continue;
            const ssize_t some = ::read(ends[i].fd, buffer.data(), buffer.size());
            if (some < 0 && errno == EINTR) continue;
            if (some <= 0) {
                ends[i].fd = -1;
                continue;
            }
            const std::string_view piece(buffer.data(), static_cast<std::size_t>(some));
            if (i == 1) {
                error_text->append(piece.substr(0, kMaxErrorText - std::min(kMaxErrorText, error_text->size())));
                continue;
            }
            total += piece.size();
            if (total > kMaxCommandOutput) {
                return make_error(Code::kResourceExhausted, "{} says more than {} bytes", name, kMaxCommandOutput);
            }
            SLUICE_TRY(take(piece));
        }
    }
    return {};
}

// The child's state once it has ended; killed at the deadline.
int reap(pid_t child, Clock::time_point deadline) {
    int status = 0;
    for (;;) {
        const pid_t ended = ::waitpid(child, &status, WNOHANG);
        if (ended == child || (ended < 0 && errno != EINTR)) return status;
        if (Clock::now() > deadline) ::kill(child, SIGKILL);
        ::usleep(1'000);
    }
}

}  // namespace

std::string find_program(const std::string& name) {
    for (const char* folder : {"/usr/sbin/", "/sbin/", "/usr/local/sbin/", "/usr/bin/", "/bin/"}) {
        std::string path = folder + name;
        if (::access(path.c_str(), X_OK) == 0) return path;
    }
    return {};
}

Result<void> run_command(const std::vector<std::string>& argv, std::string_view input,
                         const std::function<Result<void>(std::string_view)>& take,
                         std::chrono::milliseconds timeout) {
    const auto deadline = Clock::now() + timeout;
    SLUICE_TRY_ASSIGN(const Fd in, as_file(input));
    SLUICE_TRY_ASSIGN(Pipe out, make_pipe());
    SLUICE_TRY_ASSIGN(Pipe err, make_pipe());
    SLUICE_TRY_ASSIGN(const pid_t child, spawn(argv, in.get(), out.write.get(), err.write.get()));
    out.write = Fd();
    err.write = Fd();
    std::string said;
    const auto collected = collect(out, err, deadline, argv[0], take, &said);
    if (!collected) ::kill(child, SIGKILL);
    const int status = reap(child, deadline);
    SLUICE_TRY(collected);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    said.resize(std::min(said.find('\n'), said.size()));
    if (WIFEXITED(status)) {
        return make_error(Code::kUnavailable, "{} ended with {}: {}", argv[0], WEXITSTATUS(status), said);
    }
    return make_error(Code::kUnavailable, "{} was ended by signal {}", argv[0], WTERMSIG(status));
}

}  // namespace sluice::migrate
