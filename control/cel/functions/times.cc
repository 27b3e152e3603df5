// Arithmetic on times, and their parts.
#include <chrono>

#include "api/codec/time.h"
#include "control/cel/errors_private.h"
#include "control/cel/functions/numbers_private.h"
#include "control/cel/functions/time_private.h"

namespace sluice::cel {

namespace {

using Args = std::span<const Value>;

constexpr std::int64_t kNanosPerSecond = 1'000'000'000;

Error timestamp_overflow() { return failed("timestamp overflow"); }
Error duration_overflow() { return failed("duration overflow"); }

Result<Value> shifted(Timestamp time, std::int64_t nanos) {
    std::int64_t seconds = 0;
    std::int64_t rest = nanos % kNanosPerSecond + time.nanos;
    if (__builtin_add_overflow(time.seconds, nanos / kNanosPerSecond, &seconds)) {
        return timestamp_overflow();
    }
    if (rest < 0) {
        rest += kNanosPerSecond;
        --seconds;
    } else if (rest >= kNanosPerSecond) {
        rest -= kNanosPerSecond;
        ++seconds;
    }
    if (!in_range(seconds)) return timestamp_overflow();
    return Value::timestamp({seconds, static_cast<std::int32_t>(rest)});
}

// Local time of a timestamp.
struct Local {
    std::chrono::year_month_day date;
    std::int64_t days = 0;
    std::int64_t second_of_day = 0;
    std::int32_t nanos = 0;
};

Result<Local> local_time(Args args) {
    const Timestamp time = *args[0].as_timestamp();
    std::int32_t offset = 0;
    if (args.size() > 1) {
        SLUICE_TRY_ASSIGN(offset, zone_offset(args[1].as_string()->view(), time.seconds));
    }
    const std::int64_t seconds = time.seconds + offset;
    constexpr std::int64_t kDay = 86'400;
    std::int64_t days = seconds / kDay;
    std::int64_t rest = seconds % kDay;
    if (rest < 0) {
        rest += kDay;
        --days;
    }
    const std::chrono::sys_days day{std::chrono::days(days)};
    return Local{std::chrono::year_month_day(day), days, rest, time.nanos};
}

enum class Part : std::uint8_t {
    kYear, kMonth, kDayOfYear, kDayOfMonth, kDate, kDayOfWeek, kHours, kMinutes, kSeconds, kMillis
};

template <Part part>
Result<Value> timestamp_part(CallContext&, Args args) {
    SLUICE_TRY_ASSIGN(const Local local, local_time(args));
    const auto day = static_cast<std::int64_t>(static_cast<unsigned>(local.date.day()));
    switch (part) {
        case Part::kYear: return Value::integer(static_cast<int>(local.date.year()));
        case Part::kMonth:
            return Value::integer(static_cast<std::int64_t>(
                                      static_cast<unsigned>(local.date.month())) - 1);
        case Part::kDayOfYear: {
            const std::chrono::sys_days first{local.date.year() / 1 / 1};
            return Value::integer(local.days - first.time_since_epoch().count());
        }
        case Part::kDayOfMonth: return Value::integer(day - 1);
        case Part::kDate: return Value::integer(day);
        case Part::kDayOfWeek: return Value::integer(((local.days + 4) % 7 + 7) % 7);
        case Part::kHours: return Value::integer(local.second_of_day / 3600);
        case Part::kMinutes: return Value::integer(local.second_of_day / 60 % 60);
        case Part::kSeconds: return Value::integer(local.second_of_day % 60);
        case Part::kMillis: return Value::integer(local.nanos / 1'000'000);
    }
    return no_such_overload();
}

template <Part part>
Result<Value> duration_part(CallContext&, Args args) {
    const std::int64_t nanos = args[0].as_duration()->nanos;
    switch (part) {
        case Part::kHours: return Value::integer(nanos / (3600 * kNanosPerSecond));
        case Part::kMinutes: return Value::integer(nanos / (60 * kNanosPerSecond));
        case Part::kSeconds: return Value::integer(nanos / kNanosPerSecond);
        default: return Value::integer(nanos / 1'000'000);
    }
}

template <Part part>
void add_part(FunctionTable* table, const std::string& name, const std::string& id) {
    const Type time = Type::timestamp();
    table->member(name, "timestamp_to_" + id, {time}, Type::integer(), timestamp_part<part>);
    table->member(name, "timestamp_to_" + id + "_with_tz", {time, Type::string()},
                  Type::integer(), timestamp_part<part>);
    if constexpr (part >= Part::kHours) {
        table->member(name, "duration_to_" + id, {Type::duration()}, Type::integer(),
                      duration_part<part>);
    }
}

}  // namespace

bool in_range(std::int64_t seconds) {
    return seconds >= codec::kMinTimeSeconds && seconds <= codec::kMaxTimeSeconds;
}

Result<Value> add_durations(CallContext&, Args args) {
    std::int64_t sum = 0;
    if (__builtin_add_overflow(args[0].as_duration()->nanos, args[1].as_duration()->nanos, &sum)) {
        return duration_overflow();
    }
    return Value::duration({sum});
}

Result<Value> subtract_durations(CallContext&, Args args) {
    std::int64_t out = 0;
    if (__builtin_sub_overflow(args[0].as_duration()->nanos, args[1].as_duration()->nanos, &out)) {
        return duration_overflow();
    }
    return Value::duration({out});
}

Result<Value> add_to_timestamp(CallContext&, Args args) {
    const bool first = args[0].as_timestamp() != nullptr;
    return shifted(*args[first ? 0 : 1].as_timestamp(), args[first ? 1 : 0].as_duration()->nanos);
}

Result<Value> subtract_from_timestamp(CallContext&, Args args) {
    const std::int64_t nanos = args[1].as_duration()->nanos;
    if (nanos == INT64_MIN) return timestamp_overflow();
    return shifted(*args[0].as_timestamp(), -nanos);
}

Result<Value> subtract_timestamps(CallContext&, Args args) {
    const Timestamp a = *args[0].as_timestamp();
    const Timestamp b = *args[1].as_timestamp();
    std::int64_t nanos = 0;
    if (__builtin_mul_overflow(a.seconds - b.seconds, kNanosPerSecond, &nanos) ||
        __builtin_add_overflow(nanos, static_cast<std::int64_t>(a.nanos) - b.nanos, &nanos)) {
        return duration_overflow();
    }
    return Value::duration({nanos});
}

Result<Timestamp> parse_timestamp(std::string_view text) {
    const auto parsed = codec::parse_time(text);
    if (!parsed) return failed("{}", parsed.error().message);
    if (!in_range(parsed->seconds)) return timestamp_overflow();
    return Timestamp{parsed->seconds, parsed->nanos};
}

Result<Duration> parse_duration(std::string_view text) {
    const auto parsed = codec::parse_duration_ns(text);
    if (!parsed) return failed("{}", parsed.error().message);
    return Duration{*parsed};
}

std::string timestamp_text(Timestamp timestamp) {
    std::string out = codec::format_time(timestamp.seconds);
    if (timestamp.nanos == 0) return out;
    std::string digits = std::to_string(timestamp.nanos);
    digits.insert(0, 9 - digits.size(), '0');
    digits.erase(digits.find_last_not_of('0') + 1);
    out.insert(out.size() - 1, "." + digits);
    return out;
}

std::string duration_text(Duration duration) {
    // As Go does: whole seconds and the rest are added up in floating point.
    const double seconds =
        static_cast<double>(duration.nanos / kNanosPerSecond) +
        static_cast<double>(duration.nanos % kNanosPerSecond) / static_cast<double>(kNanosPerSecond);
    return plain_double(seconds) + "s";
}

void add_times(FunctionTable* table) {
    add_part<Part::kYear>(table, "getFullYear", "year");
    add_part<Part::kMonth>(table, "getMonth", "month");
    add_part<Part::kDayOfYear>(table, "getDayOfYear", "day_of_year");
    add_part<Part::kDayOfMonth>(table, "getDayOfMonth", "day_of_month");
    add_part<Part::kDate>(table, "getDate", "day_of_month_1_based");
    add_part<Part::kDayOfWeek>(table, "getDayOfWeek", "day_of_week");
    add_part<Part::kHours>(table, "getHours", "hours");
    add_part<Part::kMinutes>(table, "getMinutes", "minutes");
    add_part<Part::kSeconds>(table, "getSeconds", "seconds");
    add_part<Part::kMillis>(table, "getMilliseconds", "milliseconds");
}

}  // namespace sluice::cel
