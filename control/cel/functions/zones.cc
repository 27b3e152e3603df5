// Time zones: fixed offsets, and names of the system's zone database (TZif files, RFC 8536).
#include <array>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "control/cel/errors_private.h"
#include "control/cel/functions/posix_zone_private.h"
#include "control/cel/functions/time_private.h"

namespace sluice::cel {

namespace {

constexpr const char* kDatabase = "/usr/share/zoneinfo/";
constexpr std::size_t kMaxZoneFile = 1U << 20U;
constexpr std::size_t kMaxZoneName = 64;
// The database has about six hundred.
constexpr std::size_t kMaxZones = 1000;

struct Zone {
    std::vector<std::int64_t> transitions;  // seconds, ascending
    std::vector<std::int32_t> offsets;      // after the transition of the same index
    std::int32_t first_offset = 0;
    PosixZone rest;                         // after the last transition
};

// Big-endian numbers of a file, zero beyond its end.
class Reader {
public:
    explicit Reader(std::string_view data) : data_(data) {}
    std::int64_t number(std::size_t bytes) {
        std::uint64_t value = bytes == 8 || byte(at_) < 0x80 ? 0 : ~std::uint64_t{0};
        for (std::size_t i = 0; i < bytes; ++i) value = value << 8U | byte(at_ + i);
        at_ += bytes;
        return static_cast<std::int64_t>(value);
    }
    std::size_t count() { return static_cast<std::size_t>(number(4) & 0xFFFFFF); }
    void skip(std::size_t bytes) { at_ += bytes; }
    std::uint8_t byte(std::size_t at) const {
        return at < data_.size() ? static_cast<std::uint8_t>(data_[at]) : 0;
    }
    std::size_t at() const { return at_; }
    bool ended() const { return at_ > data_.size(); }
    std::string_view rest() const { return data_.substr(std::min(at_, data_.size())); }

private:
    std::string_view data_;
    std::size_t at_ = 0;
};

struct Counts {
    std::size_t utc, standard, leap, times, types, chars;
};

Counts read_counts(Reader* reader) {
    reader->skip(20);
    Counts out{};
    out.utc = reader->count();
    out.standard = reader->count();
    out.leap = reader->count();
    out.times = reader->count();
    out.types = reader->count();
    out.chars = reader->count();
    return out;
}

std::shared_ptr<const Zone> parse_zone(std::string_view data) {
    if (data.substr(0, 4) != "TZif" || data.size() < 44 || data[4] < '2') return nullptr;
    Reader reader(data);
    // The first part has 32-bit times; the second says it all again.
    const Counts old = read_counts(&reader);
    reader.skip(old.times * 5 + old.types * 6 + old.chars + old.leap * 8 + old.standard + old.utc);
    const Counts counts = read_counts(&reader);
    if (counts.types == 0 || counts.times > kMaxZoneFile || counts.types > 256) return nullptr;
    auto zone = std::make_shared<Zone>();
    for (std::size_t i = 0; i < counts.times && !reader.ended(); ++i) {
        zone->transitions.push_back(reader.number(8));
    }
    const std::size_t indices = reader.at();
    reader.skip(counts.times);
    std::vector<std::int32_t> types;
    for (std::size_t i = 0; i < counts.types; ++i) {
        types.push_back(static_cast<std::int32_t>(reader.number(4)));
        reader.skip(2);
    }
    reader.skip(counts.chars + counts.leap * 12 + counts.standard + counts.utc);
    if (reader.ended()) return nullptr;
    for (std::size_t i = 0; i < counts.times; ++i) {
        const std::size_t type = reader.byte(indices + i);
        if (type >= types.size()) return nullptr;
        zone->offsets.push_back(types[type]);
    }
    zone->first_offset = types[0];
    std::string_view footer = reader.rest();
    if (!footer.empty() && footer[0] == '\n') footer.remove_prefix(1);
    zone->rest = PosixZone::parse(footer.substr(0, footer.find('\n')));
    return zone;
}

bool is_zone_name(std::string_view name) {
    if (name.empty() || name.size() > kMaxZoneName || name[0] == '/') return false;
    for (const char c : name) {
        const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                           (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '+' || c == '/';
        // No dots: nothing outside of the database is named.
        if (!plain) return false;
    }
    return true;
}

// Null: there is no such zone. Kept, as zones are few.
std::shared_ptr<const Zone> find_zone(std::string_view name) {
    static std::mutex mutex;
    static std::map<std::string, std::shared_ptr<const Zone>, std::less<>> zones;
    const std::lock_guard lock(mutex);
    if (const auto found = zones.find(name); found != zones.end()) return found->second;
    std::ifstream file(kDatabase + std::string(name), std::ios::binary);
    std::string data(kMaxZoneFile, '\0');
    file.read(data.data(), static_cast<std::streamsize>(data.size()));
    data.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
    auto zone = parse_zone(data);
    if (zone != nullptr && zones.size() < kMaxZones) zones.emplace(name, zone);
    return zone;
}

// "+02:00", "-1:30", "02:00"; nullopt: it has no colon, and is a name.
Result<std::optional<std::int32_t>> fixed_offset(std::string_view zone) {
    const std::size_t colon = zone.find(':');
    if (colon == zone.npos) return std::optional<std::int32_t>();
    const bool negative = zone[0] == '-';
    const std::size_t start = negative || zone[0] == '+' ? 1 : 0;
    const auto number = [](std::string_view digits) -> std::optional<int> {
        int value = 0;
        const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
        const bool whole = parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size();
        return whole && value >= 0 && value < 100 ? std::optional(value) : std::nullopt;
    };
    const auto hours = number(zone.substr(start, colon - start));
    const auto minutes = number(zone.substr(colon + 1));
    if (!hours || !minutes) return failed("unknown time zone {}", zone);
    const std::int32_t offset = *hours * 3600 + *minutes * 60;
    return std::optional(negative ? -offset : offset);
}

}  // namespace

Result<std::int32_t> zone_offset(std::string_view zone, std::int64_t seconds) {
    if (zone.empty() || zone == "UTC") return 0;
    SLUICE_TRY_ASSIGN(const auto fixed, fixed_offset(zone));
    if (fixed) return *fixed;
    const auto found = is_zone_name(zone) ? find_zone(zone) : nullptr;
    if (found == nullptr) return failed("unknown time zone {}", zone);
    const auto& times = found->transitions;
    const auto next = std::upper_bound(times.begin(), times.end(), seconds);
    if (next == times.end() && found->rest.valid()) return found->rest.offset_at(seconds);
    if (next == times.begin()) return found->first_offset;
    return found->offsets[static_cast<std::size_t>(next - times.begin()) - 1];
}

}  // namespace sluice::cel
