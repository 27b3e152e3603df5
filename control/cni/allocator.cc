#include "control/cni/allocator.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <memory>
#include <optional>

#include "api/base/fd.h"

namespace sluice::cni {
namespace {

constexpr std::size_t kMaxFileBytes = 512;
constexpr int kLockRetryMs = 5;
constexpr unsigned kMaxPoolBits = 16;
static_assert(kMaxPoolSize == 1U << kMaxPoolBits);

// Every folder of the path; those that are made are the owner's alone.
Result<void> make_folders(const std::string& path) {
    for (std::size_t end = 1; end != std::string::npos;) {
        end = path.find('/', end);
        const std::string part = path.substr(0, end);
        if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
            return errno_error(errno, "cannot make the folder {} of dataDir", part);
        }
        if (end != std::string::npos) ++end;
    }
    return {};
}

// Released when the descriptor closes, and so by the kernel when its holder is killed.
Result<Fd> lock(const std::string& folder) {
    const std::string path = folder + "/.lock";
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd.get() < 0) return errno_error(errno, "cannot open {}", path);
    for (int waited_ms = 0;; waited_ms += kLockRetryMs) {
        if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return errno_error(errno, "cannot lock {}", path);
        if (waited_ms >= kLockTimeoutMs) {
            return make_error(Code::kUnavailable, "{} has been locked for {} ms", path,
                              kLockTimeoutMs);
        }
        const timespec pause{0, kLockRetryMs * 1000000L};
        ::nanosleep(&pause, nullptr);
    }
}

Result<std::string> read_file(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (fd.get() < 0) return errno_error(errno, "cannot open {}", path);
    std::string text(kMaxFileBytes, '\0');
    const ssize_t got = ::read(fd.get(), text.data(), text.size());
    if (got < 0) return errno_error(errno, "cannot read {}", path);
    text.resize(static_cast<std::size_t>(got));
    return text;
}

Result<void> write_file(const std::string& path, std::string_view text) {
    const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd.get() < 0) return errno_error(errno, "cannot make {}", path);
    const ssize_t put = ::write(fd.get(), text.data(), text.size());
    if (put < 0) return errno_error(errno, "cannot write {}", path);
    if (static_cast<std::size_t>(put) != text.size()) {
        return errno_error(ENOSPC, "cannot write all of {}", path);
    }
    return {};
}

std::string to_text(const AttachmentId& owner) {
    return owner.container_id + "\n" + owner.ifname + "\n";
}

std::optional<AttachmentId> to_owner(std::string_view text) {
    const std::size_t first = text.find('\n');
    if (first == std::string_view::npos || first == 0) return std::nullopt;
    const std::size_t second = text.find('\n', first + 1);
    if (second == std::string_view::npos || second == first + 1 || second + 1 != text.size()) {
        return std::nullopt;
    }
    return AttachmentId{std::string(text.substr(0, first)),
                        std::string(text.substr(first + 1, second - first - 1))};
}

struct Entry {
    IpAddress address;
    std::optional<AttachmentId> owner;  // unset: the file is not whole
};

struct DirCloser {
    void operator()(DIR* dir) const { ::closedir(dir); }
};

Result<std::vector<Entry>> list(const std::string& folder) {
    const std::unique_ptr<DIR, DirCloser> dir(::opendir(folder.c_str()));
    if (!dir) return errno_error(errno, "cannot list {}", folder);
    std::vector<Entry> entries;
    while (const dirent* const item = ::readdir(dir.get())) {
        const auto address = IpAddress::parse(item->d_name);
        if (!address) continue;  // the lock, the cursors, a temporary file
        if (entries.size() >= 2 * kMaxPoolSize) {
            return make_error(Code::kResourceExhausted, "{} holds more than {} addresses", folder,
                              2 * kMaxPoolSize);
        }
        const auto text = read_file(folder + "/" + item->d_name);
        if (!text) return text.error();
        entries.push_back({*address, to_owner(*text)});
    }
    std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
        return std::pair(a.address.family(), a.address) < std::pair(b.address.family(), b.address);
    });
    return entries;
}

unsigned host_bits(const IpPrefix& prefix) {
    const unsigned width = prefix.family() == IpFamily::kIpv4 ? 32 : 128;
    return std::min(width - prefix.bits, kMaxPoolBits);
}

bool ends_at_broadcast(const IpPrefix& prefix) {
    return prefix.family() == IpFamily::kIpv4 && 32U - prefix.bits <= kMaxPoolBits;
}

}  // namespace

std::uint32_t Pool::size() const {
    const std::uint32_t all = 1U << host_bits(prefix);
    if (all <= 2) return all;
    return all - 1 - (ends_at_broadcast(prefix) ? 1 : 0);
}

IpAddress Pool::at(std::uint32_t index) const {
    SLUICE_ASSERT(index < size());
    std::uint32_t rest = host_bits(prefix) > 1 ? index + 1 : index;
    IpAddress address = prefix.address;
    // The host bits are zero, so that no sum carries beyond them.
    for (std::size_t i = address.bytes.size(); rest != 0; rest >>= 8) {
        --i;
        address.bytes[i] = static_cast<std::uint8_t>(address.bytes[i] | (rest & 0xff));
    }
    return address;
}

std::uint32_t Pool::index_of(const IpAddress& address) const {
    if (address.family() != prefix.family() || !prefix.contains(address)) return size();
    std::uint32_t rest = 0;
    for (std::size_t i = 12; i < 16; ++i) {
        rest = rest << 8 | static_cast<std::uint32_t>(address.bytes[i] & ~prefix.address.bytes[i]);
    }
    if (host_bits(prefix) > 1) {
        if (rest == 0) return size();
        --rest;
    }
    return rest < size() && at(rest) == address ? rest : size();
}

Result<Allocator> Allocator::open(const std::string& data_dir, const std::string& network) {
    std::string folder = data_dir + "/" + network;
    SLUICE_TRY(make_folders(folder));
    return Allocator(std::move(folder));
}

Result<IpAddress> Allocator::take(const AttachmentId& owner, const Pool& pool) {
    const bool v4 = pool.prefix.family() == IpFamily::kIpv4;
    const std::string cursor = folder_ + (v4 ? "/.last-4" : "/.last-6");
    const std::uint32_t size = pool.size();
    std::uint32_t next = 0;
    if (const auto text = read_file(cursor)) {
        // A cursor that cannot be read costs only the order.
        if (const auto last = IpAddress::parse(*text))
            next = (pool.index_of(*last) + 1) % (size + 1);
        if (next >= size) next = 0;
    }
    const std::string temporary = folder_ + "/.new";
    // One left by a killed process may be the same file as an address: it is removed, never written
    // again.
    if (::unlink(temporary.c_str()) != 0 && errno != ENOENT) {
        return errno_error(errno, "cannot remove {}", temporary);
    }
    SLUICE_TRY(write_file(temporary, to_text(owner)));
    for (std::uint32_t tried = 0; tried < size; ++tried, next = (next + 1) % size) {
        const IpAddress address = pool.at(next);
        const std::string text = address.to_string();
        const std::string path = folder_ + "/" + text;
        if (::link(temporary.c_str(), path.c_str()) != 0) {
            if (errno != EEXIST) {
                const int error = errno;
                ::unlink(temporary.c_str());
                return errno_error(error, "cannot make {}", path);
            }
            continue;
        }
        ::unlink(temporary.c_str());
        // Written in place: a torn cursor is no address and is passed over.
        if (auto written = write_file(cursor, text); !written) {
            ::unlink(path.c_str());
            return written.error();
        }
        return address;
    }
    ::unlink(temporary.c_str());
    return make_error(Code::kResourceExhausted, "all {} addresses of podCIDR {} are taken", size,
                      pool.prefix.to_string());
}

Result<std::vector<IpAddress>> Allocator::allocate(const AttachmentId& owner,
                                                   const std::vector<IpPrefix>& ranges,
                                                   const IsAlive& is_alive) {
    SLUICE_TRY_ASSIGN(const Fd held, lock(folder_));
    SLUICE_TRY_ASSIGN(const auto entries, list(folder_));
    for (const Entry& entry : entries) {
        if (entry.owner == owner) {
            return make_error(Code::kAlreadyExists, "container {} has {} as {} already",
                              owner.container_id, entry.address.to_string(), owner.ifname);
        }
    }
    std::vector<IpAddress> taken;
    for (const IpPrefix& range : ranges) {
        auto address = take(owner, Pool{range});
        if (!address && address.error().code == Code::kResourceExhausted) {
            // The owner itself is alive: its link is made before it asks.
            SLUICE_TRY_ASSIGN(const std::size_t freed, remove_if([&](const AttachmentId& other) {
                                  return other != owner && !is_alive(other);
                              }));
            if (freed > 0) address = take(owner, Pool{range});
        }
        if (!address) {
            for (const IpAddress& other : taken)
                ::unlink((folder_ + "/" + other.to_string()).c_str());
            return address.error();
        }
        taken.push_back(*address);
    }
    return taken;
}

Result<std::size_t> Allocator::remove_if(const std::function<bool(const AttachmentId&)>& goes) {
    SLUICE_TRY_ASSIGN(const auto entries, list(folder_));
    std::size_t removed = 0;
    for (const Entry& entry : entries) {
        if (entry.owner && !goes(*entry.owner)) continue;
        const std::string path = folder_ + "/" + entry.address.to_string();
        if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
            return errno_error(errno, "cannot remove {}", path);
        }
        ++removed;
    }
    return removed;
}

Result<std::size_t> Allocator::release(const AttachmentId& owner, const IsAlive& is_alive) {
    SLUICE_TRY_ASSIGN(const Fd held, lock(folder_));
    return remove_if([&](const AttachmentId& other) { return other == owner || !is_alive(other); });
}

Result<std::size_t> Allocator::sweep(const IsAlive& is_alive) {
    SLUICE_TRY_ASSIGN(const Fd held, lock(folder_));
    return remove_if([&](const AttachmentId& other) { return !is_alive(other); });
}

Result<std::vector<IpAddress>> Allocator::addresses_of(const AttachmentId& owner) {
    SLUICE_TRY_ASSIGN(const Fd held, lock(folder_));
    SLUICE_TRY_ASSIGN(const auto entries, list(folder_));
    std::vector<IpAddress> addresses;
    for (const Entry& entry : entries) {
        if (entry.owner == owner) addresses.push_back(entry.address);
    }
    return addresses;
}

Result<std::vector<AttachmentId>> Allocator::owners() {
    SLUICE_TRY_ASSIGN(const Fd held, lock(folder_));
    SLUICE_TRY_ASSIGN(const auto entries, list(folder_));
    std::vector<AttachmentId> owners;
    for (const Entry& entry : entries) {
        if (entry.owner) owners.push_back(*entry.owner);
    }
    std::sort(owners.begin(), owners.end());
    owners.erase(std::unique(owners.begin(), owners.end()), owners.end());
    return owners;
}

}  // namespace sluice::cni
