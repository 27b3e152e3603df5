// The dispatcher's figures under the names that kube-apiserver gives them.
#include <fmt/format.h>

#include <iterator>

#include "control/apiserver/flowcontrol/level_private.h"

namespace sluice::flowcontrol {
namespace {

void head(std::string* out, std::string_view name, std::string_view type, std::string_view help) {
    fmt::format_to(std::back_inserter(*out),
                   "# HELP apiserver_flowcontrol_{0} {2}\n# TYPE apiserver_flowcontrol_{0} {1}\n",
                   name, type, help);
}

// Names of objects are DNS labels, which need no escapes; what a store holds may be anything.
std::string label(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c == '\n' ? ' ' : c;
    }
    return out;
}

std::string labels(const Schema& schema) {
    return fmt::format(R"(flow_schema="{}",priority_level="{}")", label(schema.config.name),
                       label(schema.config.level));
}

template <class Value>
void each_schema(std::string* out, const std::vector<std::shared_ptr<Schema>>& schemas,
                 std::string_view name, std::string_view type, std::string_view help,
                 Value value) {
    head(out, name, type, help);
    for (const auto& schema : schemas) {
        fmt::format_to(std::back_inserter(*out), "apiserver_flowcontrol_{}{{{}}} {}\n", name,
                       labels(*schema), value(*schema));
    }
}

template <class Value>
void each_level(std::string* out, const std::vector<std::shared_ptr<Level>>& levels,
                std::string_view name, std::string_view help, Value value) {
    head(out, name, "gauge", help);
    for (const auto& level : levels) {
        fmt::format_to(std::back_inserter(*out),
                       "apiserver_flowcontrol_{}{{priority_level=\"{}\"}} {}\n", name,
                       label(level->config.name), value(*level));
    }
}

void waits(std::string* out, const std::vector<std::shared_ptr<Schema>>& schemas) {
    head(out, "request_wait_duration_seconds", "histogram", "How long requests waited in a queue.");
    for (const auto& schema : schemas) {
        const std::string text = labels(*schema);
        std::uint64_t total = 0;
        for (std::size_t i = 0; i < schema->waits.size(); ++i) {
            total += schema->waits[i].load(std::memory_order_relaxed);
            const std::string bound =
                i < kWaitBucketsMs.size() ? fmt::format("{}", kWaitBucketsMs[i] / 1e3) : "+Inf";
            fmt::format_to(std::back_inserter(*out),
                           "apiserver_flowcontrol_request_wait_duration_seconds_bucket{{"
                           "execute=\"true\",{},le=\"{}\"}} {}\n",
                           text, bound, total);
        }
        fmt::format_to(
            std::back_inserter(*out),
            "apiserver_flowcontrol_request_wait_duration_seconds_sum{{execute=\"true\",{0}}} {1}\n"
            "apiserver_flowcontrol_request_wait_duration_seconds_count{{execute=\"true\",{0}}} "
            "{2}\n",
            text, static_cast<double>(schema->wait_sum_us.load(std::memory_order_relaxed)) / 1e6,
            total);
    }
}

void widths(std::string* out, const std::vector<std::shared_ptr<Schema>>& schemas) {
    head(out, "work_estimated_seats", "histogram", "Seats that requests were taken to need.");
    for (const auto& schema : schemas) {
        const std::string text = labels(*schema);
        std::uint64_t total = 0;
        for (std::size_t i = 0; i < schema->widths.size(); ++i) {
            total += schema->widths[i].load(std::memory_order_relaxed);
            const std::string bound = i < kSeatBuckets.size() ? fmt::format("{}", kSeatBuckets[i]) : "+Inf";
            fmt::format_to(std::back_inserter(*out),
                           "apiserver_flowcontrol_work_estimated_seats_bucket{{{},le=\"{}\"}} {}\n", text, bound,
                           total);
        }
        fmt::format_to(std::back_inserter(*out),
                       "apiserver_flowcontrol_work_estimated_seats_sum{{{0}}} {1}\n"
                       "apiserver_flowcontrol_work_estimated_seats_count{{{0}}} {2}\n",
                       text, schema->width_sum.load(std::memory_order_relaxed), total);
    }
}

}  // namespace

std::string metrics_text(const std::vector<std::shared_ptr<Schema>>& schemas,
                         const std::vector<std::shared_ptr<Level>>& levels) {
    constexpr auto kRelaxed = std::memory_order_relaxed;
    std::string out;
    each_schema(&out, schemas, "dispatched_requests_total", "counter", "Requests that were let run.",
                [](const Schema& s) { return s.dispatched.load(kRelaxed); });
    each_schema(&out, schemas, "current_inqueue_requests", "gauge", "Requests that wait.",
                [](const Schema& s) { return s.waiting.load(kRelaxed); });
    each_schema(&out, schemas, "current_executing_requests", "gauge", "Requests that run.",
                [](const Schema& s) { return s.executing.load(kRelaxed); });
    each_schema(&out, schemas, "current_executing_seats", "gauge", "Seats of those that run.",
                [](const Schema& s) { return s.seats.load(kRelaxed); });
    head(&out, "rejected_requests_total", "counter", "Requests that were refused.");
    for (const auto& schema : schemas) {
        for (std::size_t i = 0; i < kRefusals; ++i) {
            const std::uint64_t count = schema->refused[i].load(kRelaxed);
            if (count == 0) continue;
            fmt::format_to(std::back_inserter(out),
                           "apiserver_flowcontrol_rejected_requests_total{{{},reason=\"{}\"}} {}\n",
                           labels(*schema), refusal_name(static_cast<Refusal>(i)), count);
        }
    }
    waits(&out, schemas);
    widths(&out, schemas);
    each_level(&out, levels, "nominal_limit_seats", "Seats that are the level's own.",
               [](const Level& l) { return l.nominal; });
    each_level(&out, levels, "current_limit_seats", "Seats that are the level's own now.",
               [](const Level& l) { return l.nominal; });
    each_level(&out, levels, "lower_limit_seats", "Seats that the level does not lend.",
               [](const Level& l) { return l.nominal - l.lendable; });
    each_level(&out, levels, "seats_in_use", "Seats that are taken, borrowed ones included.",
               [](const Level& l) { return l.in_use; });
    return out;
}

}  // namespace sluice::flowcontrol
