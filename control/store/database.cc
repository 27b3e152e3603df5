// The store's file on SQLite; see database.h. The only file that includes sqlite3.h.
#include "control/store/database.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "api/base/fd.h"
#include "api/base/log.h"

namespace sluice::store {

namespace {

constexpr mode_t kFileMode = 0600;
constexpr std::size_t kHeaderBytes = 100;  // of a database file; https://sqlite.org/fileformat.html
constexpr std::size_t kUserVersionOffset = 60;
constexpr std::size_t kApplicationIdOffset = 68;
constexpr std::string_view kMagic{"SQLite format 3\0", 16};
// The write-ahead log is cut to this size when it starts over, should a burst have made it longer.
constexpr int kJournalSizeLimit = 64 << 20;

constexpr const char* kCreateMeta =
    "CREATE TABLE meta(id INTEGER PRIMARY KEY CHECK (id = 1), compacted INTEGER NOT NULL, "
    "checksum INTEGER NOT NULL) STRICT";
constexpr const char* kCreateChanges =
    "CREATE TABLE changes(revision INTEGER PRIMARY KEY, created INTEGER NOT NULL, key BLOB NOT "
    "NULL, "
    "value BLOB, checksum INTEGER NOT NULL) STRICT";
constexpr int kFrameHeaderBytes = 24;  // before each page in the log
constexpr Revision kMaxRevision = std::numeric_limits<std::int64_t>::max();
constexpr std::string_view kRestoreHint = "the file was left as it is; restore it from a backup";

struct CloseConnection {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
struct FinalizeStatement {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Connection = std::unique_ptr<sqlite3, CloseConnection>;
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

Error sqlite_error(sqlite3* db, int rc, std::string_view path, std::string_view doing) {
    const int primary = rc & 0xff;
    const char* text = db == nullptr ? sqlite3_errstr(rc) : sqlite3_errmsg(db);
    Error error;
    error.code = Code::kUnavailable;
    error.sys_errno = db == nullptr ? 0 : sqlite3_system_errno(db);
    std::string_view advice;
    if (primary == SQLITE_FULL) {
        error.code = Code::kResourceExhausted;
        advice = "; free space on its file system";
    } else if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB) {
        error.code = Code::kDataLoss;
        advice = "; restore it from a backup";
    } else if (primary == SQLITE_BUSY) {
        error.code = Code::kFailedPrecondition;
        advice = "; another process uses it, stop that one first";
    }
    error.message = fmt::format("store {}: {}: {}{}", path, doing, text, advice);
    return error;
}

std::uint32_t read_be32(const unsigned char* bytes) {
    return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 |
           std::uint32_t{bytes[2]} << 8 | std::uint32_t{bytes[3]};
}

std::int64_t change_checksum(Revision revision, Revision created, std::string_view key,
                             const std::string_view* value) {
    const std::array<std::uint64_t, 4> head{revision, created, key.size(),
                                            value == nullptr ? 0 : value->size() + 1};
    XXH64_hash_t hash = XXH3_64bits(head.data(), sizeof(head));
    hash = XXH3_64bits_withSeed(key.data(), key.size(), hash);
    if (value != nullptr) {
        hash = XXH3_64bits_withSeed(value->data(), value->size(), hash);
    }
    return static_cast<std::int64_t>(hash);
}

std::int64_t meta_checksum(Revision compacted) {
    return static_cast<std::int64_t>(XXH3_64bits(&compacted, sizeof(compacted)));
}

Result<Fd> lock_file(const std::string& path) {
    const std::string lock_path = path + "-lock";
    Fd lock(
        ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode));
    if (lock.get() < 0) {
        return errno_error(errno, "store {}: its lock file {} cannot be opened", path, lock_path);
    }
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            return make_error(Code::kFailedPrecondition,
                              "store {}: another process uses it; stop that one first", path);
        }
        return errno_error(errno, "store {}: its lock file {} cannot be locked", path, lock_path);
    }
    return lock;
}

// Reads the header before SQLite sees the file, as SQLite may change even a file that it then
// refuses.
Result<void> check_header(const std::string& path) {
    Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file.get() < 0) {
        return errno_error(errno, "store {} cannot be opened", path);
    }
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) {
        return errno_error(errno, "store {} cannot be examined", path);
    }
    if (!S_ISREG(status.st_mode)) {
        return make_error(Code::kFailedPrecondition,
                          "store {} is not a regular file; name another path", path);
    }
    std::array<unsigned char, kHeaderBytes> header{};
    const ssize_t got = ::pread(file.get(), header.data(), header.size(), 0);
    if (got < 0) {
        return errno_error(errno, "store {} cannot be read", path);
    }
    if (got < static_cast<ssize_t>(header.size())) {
        return make_error(Code::kDataLoss,
                          "store {} has {} bytes, less than the header of a store; {}", path, got,
                          kRestoreHint);
    }
    if (std::memcmp(header.data(), kMagic.data(), kMagic.size()) != 0 ||
        read_be32(header.data() + kApplicationIdOffset) != kApplicationId) {
        return make_error(Code::kFailedPrecondition,
                          "store {} is not the file of a sluice store and was left as it is; name "
                          "another path, or restore a backup if it was one",
                          path);
    }
    const std::uint32_t version = read_be32(header.data() + kUserVersionOffset);
    if (version > kFormatVersion) {
        return make_error(
            Code::kFailedPrecondition,
            "store {} has format {}, this program knows formats up to {}; the file was "
            "left as it is, use a newer sluice-control",
            path, version, kFormatVersion);
    }
    if (version == 0) {
        return make_error(Code::kDataLoss, "store {} has format 0, which never was one; {}", path,
                          kRestoreHint);
    }
    return {};
}

class SqliteDatabase final : public Database {
public:
    SqliteDatabase(const SqliteOptions& options, Fd lock)
        : path_(options.path), durable_(options.durable), lock_(std::move(lock)) {}

    Result<void> create();
    Result<void> connect();
    Result<void> check();
    Result<void> prepare_all();

    [[nodiscard]] Revision compacted() const override { return compacted_; }
    Result<void> load(const std::function<Result<void>(KeyValue)>& row) override;
    void accept(int log_pages) override;
    Result<void> commit(std::span<const KeyValue> changes, Revision compacted,
                        std::span<const Revision> forgotten) override;
    [[nodiscard]] int log_pages() const override { return log_pages_; }
    Result<void> checkpoint() override;

private:
    [[nodiscard]] Error failed(int rc, std::string_view doing) const {
        return sqlite_error(db_.get(), rc, path_, doing);
    }
    [[nodiscard]] Error damaged(std::string_view what) const {
        return make_error(Code::kDataLoss, "store {} is damaged: {}; {}", path_, what,
                          kRestoreHint);
    }
    Result<void> execute(const char* sql, std::string_view doing);
    Result<Statement> prepare(const char* sql);
    Result<void> run(sqlite3_stmt* statement, std::string_view doing);
    Result<void> store_meta(Revision compacted);
    Result<void> insert(const KeyValue& change);
    Result<void> write_all(std::span<const KeyValue> changes, Revision compacted,
                           std::span<const Revision> forgotten);
    Result<void> check_schema();
    Result<void> load_meta();
    Result<void> extend_log(off_t bytes);

    const std::string path_;
    const bool durable_;
    Fd lock_;  // released last
    Connection db_;
    Statement begin_;
    Statement commit_;
    Statement insert_;
    Statement remove_;
    Statement set_meta_;
    Revision compacted_ = 0;
    int log_pages_ = 0;
};

Result<void> SqliteDatabase::execute(const char* sql, std::string_view doing) {
    const int rc = sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr);
    if (rc != SQLITE_OK) {
        return failed(rc, doing);
    }
    return {};
}

Result<Statement> SqliteDatabase::prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    const int rc =
        sqlite3_prepare_v3(db_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
    if (rc != SQLITE_OK) {
        return failed(rc, "preparing a statement");
    }
    return Statement(statement);
}

Result<void> SqliteDatabase::prepare_all() {
    SLUICE_TRY_ASSIGN(begin_, prepare("BEGIN IMMEDIATE"));
    SLUICE_TRY_ASSIGN(commit_, prepare("COMMIT"));
    SLUICE_TRY_ASSIGN(insert_, prepare("INSERT INTO changes VALUES(?1, ?2, ?3, ?4, ?5)"));
    SLUICE_TRY_ASSIGN(remove_, prepare("DELETE FROM changes WHERE revision BETWEEN ?1 AND ?2"));
    SLUICE_TRY_ASSIGN(set_meta_, prepare("INSERT OR REPLACE INTO meta VALUES(1, ?1, ?2)"));
    return {};
}

// Runs a statement that returns no rows, and makes it ready for the next time.
Result<void> SqliteDatabase::run(sqlite3_stmt* statement, std::string_view doing) {
    const int rc = sqlite3_step(statement);
    if (rc != SQLITE_DONE) {
        Error error = failed(rc, doing);
        sqlite3_reset(statement);
        return error;
    }
    sqlite3_reset(statement);
    return {};
}

// Makes the file complete under another name first, so that a crash never leaves half a store at
// the path.
Result<void> SqliteDatabase::create() {
    const std::string making = path_ + "-new";
    for (const char* suffix : {"", "-wal", "-journal", "-shm"}) {
        const std::string stale = making + suffix;
        if (::unlink(stale.c_str()) != 0 && errno != ENOENT) {
            return errno_error(errno, "store {}: {} cannot be removed", path_, stale);
        }
    }
    {
        Fd file(
            ::open(making.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, kFileMode));
        if (file.get() < 0) {
            return errno_error(errno, "store {} cannot be made", path_);
        }
    }
    sqlite3* db = nullptr;
    const int rc =
        sqlite3_open_v2(making.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    db_.reset(db);
    if (rc != SQLITE_OK) {
        return failed(rc, "making it");
    }
    const std::string sql = fmt::format(
        "PRAGMA page_size={}; PRAGMA synchronous=FULL; BEGIN; PRAGMA application_id={}; "
        "PRAGMA user_version={}; {}; {}; INSERT INTO meta VALUES(1, {}, {}); COMMIT; "
        "PRAGMA journal_mode=WAL",
        kPageBytes, kApplicationId, kFormatVersion, kCreateMeta, kCreateChanges, 1,
        meta_checksum(1));
    SLUICE_TRY(execute(sql.c_str(), "making it"));
    db_.reset();
    // A rename that replaces nothing: should a file have appeared at the path, it is not ours to
    // remove. File systems that cannot do that get a plain one, under the protection of the lock.
    int renamed = ::renameat2(AT_FDCWD, making.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE);
    if (renamed != 0 && errno == EINVAL) {
        renamed = ::rename(making.c_str(), path_.c_str());
    }
    if (renamed != 0) {
        return errno_error(errno, "store {} cannot be put in place", path_);
    }
    const std::string parent = std::filesystem::path(path_).parent_path().string();
    const char* folder = parent.empty() ? "." : parent.c_str();
    Fd directory(::open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (directory.get() < 0 || ::fsync(directory.get()) != 0) {
        return errno_error(errno, "store {}: its folder {} cannot be synced", path_, folder);
    }
    return {};
}

Result<void> SqliteDatabase::connect() {
    sqlite3* db = nullptr;
    const int rc =
        sqlite3_open_v2(path_.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    db_.reset(db);
    if (rc != SQLITE_OK) {
        return failed(rc, "opening it");
    }
    sqlite3_extended_result_codes(db, 1);
    // Closing must leave a refused file alone, until accept(). What the schema of a forged file
    // could make SQLite run is switched off.
    const std::array<std::pair<int, int>, 5> settings{{{SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1},
                                                       {SQLITE_DBCONFIG_DEFENSIVE, 1},
                                                       {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
                                                       {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
                                                       {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0}}};
    for (const auto& [setting, value] : settings) {
        if (sqlite3_db_config(db, setting, value, nullptr) != SQLITE_OK) {
            return failed(SQLITE_MISUSE, "setting it up");
        }
    }
    // Exclusive locking keeps the log's index in this process's memory and every other SQLite
    // program out.
    const std::string sql = fmt::format(
        "PRAGMA locking_mode=EXCLUSIVE; PRAGMA query_only=ON; PRAGMA cell_size_check=ON; "
        "PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit={}; PRAGMA synchronous={}",
        kJournalSizeLimit, durable_ ? "FULL" : "OFF");
    SLUICE_TRY(execute(sql.c_str(), "setting it up"));
    sqlite3_wal_hook(
        db,
        [](void* self, sqlite3*, const char*, int pages) {
            static_cast<SqliteDatabase*>(self)->log_pages_ = pages;
            return SQLITE_OK;
        },
        this);
    return {};
}

Result<void> SqliteDatabase::check_schema() {
    SLUICE_TRY_ASSIGN(Statement query, prepare("SELECT sql FROM sqlite_schema ORDER BY name"));
    const std::array<std::string_view, 2> expected{kCreateChanges, kCreateMeta};
    std::size_t found = 0;
    int rc = SQLITE_ROW;
    while ((rc = sqlite3_step(query.get())) == SQLITE_ROW) {
        const auto* sql = reinterpret_cast<const char*>(sqlite3_column_text(query.get(), 0));
        if (found >= expected.size() || sql == nullptr || sql != expected[found]) {
            return damaged("its tables are not those of a store");
        }
        ++found;
    }
    if (rc != SQLITE_DONE) {
        return failed(rc, "reading its tables");
    }
    if (found != expected.size()) {
        return damaged("its tables are not those of a store");
    }
    return {};
}

Result<void> SqliteDatabase::load_meta() {
    SLUICE_TRY_ASSIGN(Statement query,
                      prepare("SELECT compacted, checksum FROM meta WHERE id = 1"));
    const int rc = sqlite3_step(query.get());
    if (rc == SQLITE_DONE) {
        return damaged("its compacted revision is missing");
    }
    if (rc != SQLITE_ROW) {
        return failed(rc, "reading its compacted revision");
    }
    compacted_ = static_cast<Revision>(sqlite3_column_int64(query.get(), 0));
    if (compacted_ == 0 || compacted_ > kMaxRevision ||
        sqlite3_column_int64(query.get(), 1) != meta_checksum(compacted_)) {
        return damaged("the checksum of its compacted revision is wrong");
    }
    return {};
}

Result<void> SqliteDatabase::check() {
    SLUICE_TRY(check_schema());
    SLUICE_TRY_ASSIGN(Statement query, prepare("PRAGMA quick_check(1)"));
    const int rc = sqlite3_step(query.get());
    if (rc != SQLITE_ROW) {
        return failed(rc, "checking it");
    }
    const auto* verdict = reinterpret_cast<const char*>(sqlite3_column_text(query.get(), 0));
    if (verdict == nullptr || std::string_view(verdict) != "ok") {
        return damaged(verdict == nullptr ? "the check gave no result" : verdict);
    }
    return load_meta();
}

Result<void> SqliteDatabase::load(const std::function<Result<void>(KeyValue)>& row) {
    SLUICE_TRY_ASSIGN(
        Statement query,
        prepare("SELECT revision, created, key, value, checksum FROM changes ORDER BY revision"));
    auto blob = [&query](int column) {
        const auto* data = static_cast<const char*>(sqlite3_column_blob(query.get(), column));
        return std::string_view(
            data == nullptr ? "" : data,
            static_cast<std::size_t>(sqlite3_column_bytes(query.get(), column)));
    };
    int rc = SQLITE_ROW;
    while ((rc = sqlite3_step(query.get())) == SQLITE_ROW) {
        const auto revision = static_cast<Revision>(sqlite3_column_int64(query.get(), 0));
        const auto created = static_cast<Revision>(sqlite3_column_int64(query.get(), 1));
        const std::string_view key = blob(2);
        const bool deleted = sqlite3_column_type(query.get(), 3) == SQLITE_NULL;
        const std::string_view value = blob(3);
        if (sqlite3_column_int64(query.get(), 4) !=
            change_checksum(revision, created, key, deleted ? nullptr : &value)) {
            return damaged(fmt::format("the checksum of change {} is wrong", revision));
        }
        KeyValue change{std::string(key), nullptr, created, revision, false};
        if (!deleted) {
            change.value = std::make_shared<const std::string>(value);
        }
        if (auto result = row(std::move(change)); !result) {
            return damaged(result.error().message);
        }
    }
    if (rc != SQLITE_DONE) {
        return failed(rc, "reading it");
    }
    return {};
}

// Writes zeros behind the end of the log. SQLite takes them for the end of the log, as no frame
// begins so.
Result<void> SqliteDatabase::extend_log(off_t bytes) {
    const std::string log_path = path_ + "-wal";
    Fd log(::open(log_path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    struct stat status{};
    if (log.get() < 0 || ::fstat(log.get(), &status) != 0) {
        return errno_error(errno, "store {}: its log cannot be opened", path_);
    }
    const std::vector<char> zeros(std::size_t{1} << 20);
    for (off_t at = status.st_size; at < bytes;) {
        const auto count = std::min<off_t>(bytes - at, static_cast<off_t>(zeros.size()));
        const ssize_t written =
            ::pwrite(log.get(), zeros.data(), static_cast<std::size_t>(count), at);
        if (written <= 0) {
            const int sys_errno = written < 0 ? errno : ENOSPC;
            // What is left of the disk's space is for changes.
            if (::ftruncate(log.get(), status.st_size) != 0) {
                log::warn("store", "store {}: its log cannot be cut back", path_);
            }
            return errno_error(sys_errno, "store {}: its log cannot be extended", path_);
        }
        at += written;
    }
    if (::fdatasync(log.get()) != 0) {
        return errno_error(errno, "store {}: its log cannot be synced", path_);
    }
    return {};
}

void SqliteDatabase::accept(int log_pages) {
    if (durable_) {
        auto extended =
            extend_log(static_cast<off_t>(log_pages) * (kPageBytes + kFrameHeaderBytes));
        if (!extended) {
            log::warn("store", "{}; writes will be slower until it has grown",
                      extended.error().to_string());
        }
    }
    // These two only set flags of the connection, which cannot fail.
    sqlite3_db_config(db_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);
    sqlite3_exec(db_.get(), "PRAGMA query_only=OFF", nullptr, nullptr, nullptr);
}

Result<void> SqliteDatabase::store_meta(Revision compacted) {
    sqlite3_bind_int64(set_meta_.get(), 1, static_cast<std::int64_t>(compacted));
    sqlite3_bind_int64(set_meta_.get(), 2, meta_checksum(compacted));
    return run(set_meta_.get(), "writing its compacted revision");
}

Result<void> SqliteDatabase::insert(const KeyValue& change) {
    sqlite3_stmt* statement = insert_.get();
    sqlite3_bind_int64(statement, 1, static_cast<std::int64_t>(change.mod_revision));
    sqlite3_bind_int64(statement, 2, static_cast<std::int64_t>(change.create_revision));
    // The strings outlive the step, so SQLite need not copy them.
    sqlite3_bind_blob64(statement, 3, change.key.data(), change.key.size(), SQLITE_STATIC);
    if (change.value == nullptr) {
        sqlite3_bind_null(statement, 4);
        sqlite3_bind_int64(
            statement, 5,
            change_checksum(change.mod_revision, change.create_revision, change.key, nullptr));
    } else {
        const std::string_view value = *change.value;
        sqlite3_bind_blob64(statement, 4, value.data(), value.size(), SQLITE_STATIC);
        sqlite3_bind_int64(
            statement, 5,
            change_checksum(change.mod_revision, change.create_revision, change.key, &value));
    }
    auto result = run(statement, "writing a change");
    sqlite3_clear_bindings(statement);
    return result;
}

Result<void> SqliteDatabase::write_all(std::span<const KeyValue> changes, Revision compacted,
                                       std::span<const Revision> forgotten) {
    for (const KeyValue& change : changes) {
        SLUICE_TRY(insert(change));
    }
    if (compacted != compacted_) {
        SLUICE_TRY(store_meta(compacted));
    }
    // Neighbours at once: they are on one page.
    for (std::size_t first = 0; first < forgotten.size();) {
        std::size_t last = first;
        while (last + 1 < forgotten.size() && forgotten[last + 1] == forgotten[last] + 1) {
            ++last;
        }
        sqlite3_bind_int64(remove_.get(), 1, static_cast<std::int64_t>(forgotten[first]));
        sqlite3_bind_int64(remove_.get(), 2, static_cast<std::int64_t>(forgotten[last]));
        SLUICE_TRY(run(remove_.get(), "removing compacted changes"));
        first = last + 1;
    }
    return {};
}

Result<void> SqliteDatabase::commit(std::span<const KeyValue> changes, Revision compacted,
                                    std::span<const Revision> forgotten) {
    SLUICE_TRY(run(begin_.get(), "beginning a transaction"));
    auto result = write_all(changes, compacted, forgotten);
    if (result) {
        result = run(commit_.get(), "committing");
    }
    if (!result) {
        // Some failures roll back by themselves; then there is nothing left to end.
        if (sqlite3_get_autocommit(db_.get()) == 0) {
            sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
        }
        return result;
    }
    compacted_ = compacted;
    return {};
}

Result<void> SqliteDatabase::checkpoint() {
    int left = 0;
    int moved = 0;
    const int rc =
        sqlite3_wal_checkpoint_v2(db_.get(), nullptr, SQLITE_CHECKPOINT_PASSIVE, &left, &moved);
    if (rc != SQLITE_OK) {
        return failed(rc, "moving the log into the database");
    }
    log_pages_ = left - moved;
    return {};
}

}  // namespace

Result<std::unique_ptr<Database>> Database::open(const SqliteOptions& options) {
    if (options.path.empty() || options.path.find('\0') != std::string::npos) {
        return make_error(Code::kInvalidArgument,
                          "the path of the store is empty or has a zero byte");
    }
    SLUICE_TRY_ASSIGN(Fd lock, lock_file(options.path));
    auto database = std::make_unique<SqliteDatabase>(options, std::move(lock));
    struct stat status{};
    if (::stat(options.path.c_str(), &status) != 0) {
        if (errno != ENOENT) {
            return errno_error(errno, "store {} cannot be examined", options.path);
        }
        SLUICE_TRY(database->create());
    }
    SLUICE_TRY(check_header(options.path));
    SLUICE_TRY(database->connect());
    SLUICE_TRY(database->check());
    SLUICE_TRY(database->prepare_all());
    return std::unique_ptr<Database>(std::move(database));
}

}  // namespace sluice::store
