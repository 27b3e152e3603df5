#include "control/apiserver/authentication/token_file.h"

#include <algorithm>
#include <vector>

#include "api/base/log.h"
#include "api/client/bootstrap.h"
#include "api/client/kubeconfig.h"

namespace sluice::authentication {
namespace {

constexpr std::string_view kComponent = "authentication";
constexpr std::size_t kMinColumns = 3;

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

struct Record {
    std::size_t line = 0;  // where it begins
    std::vector<std::string> columns;
};

// A quoted column may hold commas, doubled quotes and line ends.
class Reader {
public:
    explicit Reader(std::string_view text) : text_(text) {}

    // nullopt at the end. Lines that are empty or begin with # are passed over.
    Result<std::optional<Record>> next() {
        while (position_ < text_.size()) {
            if (text_[position_] == '#') {
                position_ = std::min(text_.find('\n', position_), text_.size());
                continue;
            }
            if (text_[position_] == '\n' || text_[position_] == '\r') {
                if (text_[position_] == '\n') ++line_;
                ++position_;
                continue;
            }
            return record();
        }
        return std::optional<Record>();
    }

private:
    Result<std::optional<Record>> record() {
        Record out;
        out.line = line_;
        while (true) {
            SLUICE_TRY_ASSIGN(std::string column, this->column());
            out.columns.push_back(std::move(column));
            if (position_ < text_.size() && text_[position_] == ',') {
                ++position_;
                continue;
            }
            return std::optional<Record>(std::move(out));
        }
    }

    Result<std::string> column() {
        while (position_ < text_.size() && text_[position_] == ' ') ++position_;
        std::string out;
        if (position_ >= text_.size() || text_[position_] != '"') {
            while (position_ < text_.size() && text_[position_] != ',' && text_[position_] != '\n') {
                if (text_[position_] == '"') {
                    return make_error(Code::kInvalidArgument, "line {}: a quote within a column",
                                      line_);
                }
                if (text_[position_] != '\r') out.push_back(text_[position_]);
                ++position_;
            }
            return out;
        }
        const std::size_t begin = line_;
        ++position_;
        while (true) {
            if (position_ >= text_.size()) {
                return make_error(Code::kInvalidArgument, "line {}: a quoted column does not end",
                                  begin);
            }
            const char c = text_[position_++];
            if (c == '"') {
                if (position_ >= text_.size() || text_[position_] != '"') break;
                ++position_;
            }
            if (c == '\n') ++line_;
            out.push_back(c);
        }
        if (position_ < text_.size() && text_[position_] == '\r') ++position_;
        if (position_ < text_.size() && text_[position_] != ',' && text_[position_] != '\n') {
            return make_error(Code::kInvalidArgument, "line {}: text after a quoted column", line_);
        }
        return out;
    }

    std::string_view text_;
    std::size_t position_ = 0;
    std::size_t line_ = 1;
};

std::vector<std::string> groups_of(std::string_view text) {
    std::vector<std::string> out;
    while (!text.empty()) {
        const std::size_t comma = text.find(',');
        const auto group = trimmed(text.substr(0, comma));
        if (!group.empty()) out.emplace_back(group);
        if (comma == std::string_view::npos) break;
        text.remove_prefix(comma + 1);
    }
    return out;
}

}  // namespace

Result<TokenFile> TokenFile::parse(std::string_view text) {
    TokenFile out;
    Reader reader(text);
    while (true) {
        SLUICE_TRY_ASSIGN(const auto record, reader.next());
        if (!record) return out;
        const auto& columns = record->columns;
        if (columns.size() < kMinColumns) {
            return make_error(Code::kInvalidArgument,
                              "line {}: {} columns; it needs at least token, user name and user uid",
                              record->line, columns.size());
        }
        if (columns.size() > kMinColumns + 1) {
            return make_error(Code::kInvalidArgument,
                              "line {}: {} columns; several groups are written in quotes, as "
                              "\"group1,group2\"",
                              record->line, columns.size());
        }
        if (columns[0].empty() || columns[1].empty()) {
            return make_error(Code::kInvalidArgument, "line {}: the {} is empty", record->line,
                              columns[0].empty() ? "token" : "user name");
        }
        http::Identity identity;
        identity.user = columns[1];
        identity.uid = columns[2];
        if (columns.size() > kMinColumns) identity.groups = groups_of(columns[3]);
        if (!out.identities_.emplace(client::sha256_hex(columns[0]), std::move(identity)).second) {
            return make_error(Code::kInvalidArgument, "line {}: its token is there twice",
                              record->line);
        }
    }
}

Result<TokenFile> TokenFile::load(const std::string& path) {
    SLUICE_TRY_ASSIGN(const std::string text, client::read_file(path, kMaxTokenFileBytes));
    auto out = parse(text);
    if (!out) return out.error().with_context(path);
    if (out->identities_.empty()) log::warn(kComponent, "{} holds no tokens", path);
    return out;
}

std::optional<http::Identity> TokenFile::find(std::string_view token) const {
    const auto found = identities_.find(client::sha256_hex(token));
    if (found == identities_.end()) return std::nullopt;
    return found->second;
}

}  // namespace sluice::authentication
