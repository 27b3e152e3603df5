#include "control/store/snapshot/snapshot.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <memory>

#include "control/store/database.h"

namespace sluice::store {

namespace {

constexpr std::string_view kMagic = "SLUICESNAP1\n";
constexpr std::size_t kDigest = 32;
constexpr std::size_t kPiece = std::size_t{1} << 20;
// Rows of one transaction when a store is made.
constexpr std::size_t kRowsInATransaction = 4'096;

struct FreeDigest {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

// SHA-256, piece by piece.
class Digest {
public:
    Digest() : context_(EVP_MD_CTX_new()) {
        SLUICE_ASSERT(context_ != nullptr &&
                      EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
    }
    void add(std::string_view bytes) {
        SLUICE_ASSERT(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
    }
    std::string take() {
        std::string out(kDigest, '\0');
        SLUICE_ASSERT(EVP_DigestFinal_ex(context_.get(),
                                         reinterpret_cast<unsigned char*>(out.data()),
                                         nullptr) == 1);
        return out;
    }

private:
    std::unique_ptr<EVP_MD_CTX, FreeDigest> context_;
};

void append_number(std::uint64_t number, std::string* out) {
    for (int i = 0; i < 8; ++i) {
        out->push_back(static_cast<char>(number >> (8 * i)));
    }
}

class Reader {
public:
    explicit Reader(std::string_view bytes) : left_(bytes) {}
    bool number(std::uint64_t* out) {
        if (left_.size() < 8) {
            return false;
        }
        *out = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            *out |= static_cast<std::uint64_t>(static_cast<unsigned char>(left_[i])) << (8 * i);
        }
        left_.remove_prefix(8);
        return true;
    }
    bool text(std::uint64_t size, std::string_view* out) {
        if (size > left_.size()) {
            return false;
        }
        *out = left_.substr(0, size);
        left_.remove_prefix(size);
        return true;
    }
    [[nodiscard]] bool empty() const { return left_.empty(); }

private:
    std::string_view left_;
};

Error damaged(std::string_view why) {
    return make_error(Code::kDataLoss, "the snapshot is damaged: {}", why);
}

class Fd {
public:
    explicit Fd(int fd) : fd_(fd) {}
    ~Fd() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    [[nodiscard]] int get() const { return fd_; }

private:
    int fd_;
};

Result<void> sync_folder_of(const std::string& path) {
    const std::string parent = std::filesystem::path(path).parent_path().string();
    const Fd folder(::open(parent.empty() ? "." : parent.c_str(),
                           O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (folder.get() < 0 || ::fsync(folder.get()) != 0) {
        return errno_error(errno, "{}: its folder cannot be synced", path);
    }
    return {};
}

// Rows of the new store in revision order. One revision of etcd may have changed several keys; here
// each has its own, so that the further ones get revisions after the newest.
Result<std::vector<KeyValue>> rows_of(const Snapshot& snapshot, Revision* newest) {
    std::vector<KeyValue> rows = snapshot.items;
    std::sort(rows.begin(), rows.end(), [](const KeyValue& left, const KeyValue& right) {
        return left.mod_revision < right.mod_revision;
    });
    Revision before = 0;
    for (KeyValue& row : rows) {
        if (row.value == nullptr || row.key.empty() || row.create_revision == 0 ||
            row.create_revision > row.mod_revision || row.mod_revision > snapshot.revision) {
            return damaged("the revisions of " + row.key + " are impossible");
        }
        const Revision given = row.mod_revision;
        if (given == before) {
            row.mod_revision = ++*newest;
        }
        before = given;
    }
    std::sort(rows.begin(), rows.end(), [](const KeyValue& left, const KeyValue& right) {
        return left.mod_revision < right.mod_revision;
    });
    return rows;
}

}  // namespace

Result<Snapshot> take_snapshot(const Store& store) {
    SLUICE_TRY_ASSIGN(RangeResult all, store.range("", "", 0));
    return Snapshot{std::move(all.items), all.revision};
}

Result<void> encode_snapshot(const Snapshot& snapshot,
                             const std::function<Result<void>(std::string_view)>& sink) {
    Digest digest;
    std::string piece(kMagic);
    append_number(snapshot.revision, &piece);
    append_number(snapshot.items.size(), &piece);
    for (const KeyValue& item : snapshot.items) {
        append_number(item.key.size(), &piece);
        append_number(item.value->size(), &piece);
        append_number(item.create_revision, &piece);
        append_number(item.mod_revision, &piece);
        piece += item.key;
        piece += *item.value;
        if (piece.size() >= kPiece) {
            digest.add(piece);
            SLUICE_TRY(sink(piece));
            piece.clear();
        }
    }
    digest.add(piece);
    piece += digest.take();
    return sink(piece);
}

Result<Snapshot> decode_snapshot(std::string_view bytes) {
    if (bytes.size() < kMagic.size() + 16 + kDigest || !bytes.starts_with(kMagic)) {
        return damaged("it does not begin as one, or is too short");
    }
    const std::string_view body = bytes.substr(0, bytes.size() - kDigest);
    Digest digest;
    digest.add(body);
    if (digest.take() != bytes.substr(body.size())) {
        return damaged("its checksum is wrong");
    }
    Reader reader(body.substr(kMagic.size()));
    Snapshot snapshot;
    std::uint64_t count = 0;
    if (!reader.number(&snapshot.revision) || !reader.number(&count) || snapshot.revision == 0) {
        return damaged("its head is not complete");
    }
    for (std::uint64_t i = 0; i < count; ++i) {
        std::uint64_t key_size = 0;
        std::uint64_t value_size = 0;
        std::string_view key;
        std::string_view value;
        KeyValue item;
        if (!reader.number(&key_size) || !reader.number(&value_size) ||
            !reader.number(&item.create_revision) || !reader.number(&item.mod_revision) ||
            !reader.text(key_size, &key) || !reader.text(value_size, &value)) {
            return damaged("it ends within an item");
        }
        item.key = key;
        item.value = std::make_shared<const std::string>(value);
        if (!snapshot.items.empty() && snapshot.items.back().key >= item.key) {
            return damaged("its keys are not in order");
        }
        snapshot.items.push_back(std::move(item));
    }
    if (!reader.empty()) {
        return damaged("something follows its last item");
    }
    return snapshot;
}

Result<void> write_snapshot_file(const std::string& path, std::string_view bytes) {
    if (::access(path.c_str(), F_OK) == 0) {
        return make_error(Code::kAlreadyExists, "{} exists already", path);
    }
    const std::string making = path + ".part";
    ::unlink(making.c_str());
    {
        const Fd file(::open(making.c_str(),
                             O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (file.get() < 0) {
            return errno_error(errno, "{} cannot be made", making);
        }
        while (!bytes.empty()) {
            const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
            if (written <= 0) {
                const int sys_errno = written < 0 ? errno : ENOSPC;
                ::unlink(making.c_str());
                return errno_error(sys_errno, "{} cannot be written", making);
            }
            bytes.remove_prefix(static_cast<std::size_t>(written));
        }
        if (::fsync(file.get()) != 0) {
            return errno_error(errno, "{} cannot be synced", making);
        }
    }
    if (::rename(making.c_str(), path.c_str()) != 0) {
        return errno_error(errno, "{} cannot be put in place", path);
    }
    return sync_folder_of(path);
}

Result<std::string> read_snapshot_file(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status{};
    if (file.get() < 0 || ::fstat(file.get(), &status) != 0) {
        return errno_error(errno, "{} cannot be read", path);
    }
    if (!S_ISREG(status.st_mode) || static_cast<std::size_t>(status.st_size) > kMaxSnapshotBytes) {
        return make_error(Code::kInvalidArgument, "{} is no file of at most {} bytes", path,
                          kMaxSnapshotBytes);
    }
    std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
    std::size_t got = 0;
    while (got < bytes.size()) {
        const ssize_t piece = ::read(file.get(), bytes.data() + got, bytes.size() - got);
        if (piece <= 0) {
            return errno_error(piece < 0 ? errno : EIO, "{} cannot be read", path);
        }
        got += static_cast<std::size_t>(piece);
    }
    return bytes;
}

Result<void> make_embedded_store(const std::string& path, const Snapshot& snapshot, Revision skip) {
    if (::access(path.c_str(), F_OK) == 0) {
        return make_error(Code::kAlreadyExists,
                          "{} exists already: a store is not overwritten, move it away first", path);
    }
    Revision newest = snapshot.revision;
    SLUICE_TRY_ASSIGN(const std::vector<KeyValue> rows, rows_of(snapshot, &newest));
    const std::string making = path + "-restoring";
    for (const char* suffix : {"", "-wal", "-shm", "-journal", "-lock"}) {
        ::unlink((making + suffix).c_str());
    }
    SqliteOptions options;
    options.path = making;
    {
        SLUICE_TRY_ASSIGN(std::unique_ptr<Database> database, Database::open(options));
        SLUICE_TRY(database->load([](KeyValue) { return Result<void>(); }));
        database->accept(0);
        for (std::size_t at = 0; at < rows.size(); at += kRowsInATransaction) {
            const std::size_t count = std::min(kRowsInATransaction, rows.size() - at);
            SLUICE_TRY(database->commit(std::span(rows).subspan(at, count), 1, {}));
        }
        SLUICE_TRY(database->commit({}, newest + skip, {}));
    }
    // A clean close has left one complete file. Opened as any store, it is checked before it counts.
    {
        auto check = open_sqlite(options);
        if (!check) {
            return check.error().with_context("the restored store");
        }
        if ((*check)->range("", "", 0)->items.size() != rows.size()) {
            return damaged("not all of it could be restored");
        }
    }
    if (::rename(making.c_str(), path.c_str()) != 0) {
        return errno_error(errno, "{} cannot be put in place", path);
    }
    ::unlink((making + "-lock").c_str());
    return sync_folder_of(path);
}

}  // namespace sluice::store
