// Requests recorded against kube-apiserver 1.32, played back: the answers must be the same but for uids, times and
// versions. testdata/recorded.jsonl holds one exchange a line; "setup" requests come before it and must succeed. Of
// many objects the recorder kept a part: "at" is where it is (a list: the values of several pointers), "members" what
// of it was kept. A line without "resp" says the status alone.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <fstream>
#include <regex>

#include "control/apiserver/registry/test_util.h"

namespace sluice::registry::testing {
namespace {

std::string text(const boost::json::object& row, const char* name) {
    const auto* value = row.if_contains(name);
    return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

// The recorder took managedFields out of all answers.
std::string without_managers(std::string json) {
    static const std::string kName = "\"managedFields\":[";
    for (std::size_t at = json.find(kName); at != std::string::npos; at = json.find(kName, at)) {
        std::size_t end = at + kName.size();
        bool in_string = false;
        for (int depth = 1; depth > 0 && end < json.size(); ++end) {
            const char c = json[end];
            if (in_string) {
                if (c == '\\') ++end;
                if (c == '"') in_string = false;
            } else {
                in_string = c == '"';
                depth += c == '[' ? 1 : (c == ']' ? -1 : 0);
            }
        }
        if (at > 0 && json[at - 1] == ',') {
            --at;
        } else if (end < json.size() && json[end] == ',') {
            ++end;
        }
        json.erase(at, end - at);
    }
    return json;
}

// What differs from run to run, replaced by a word.
std::string normal(std::string json) {
    json = without_managers(std::move(json));
    static const std::regex kUid("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}");
    static const std::regex kTime(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)");
    static const std::regex kVersion(R"("resourceVersion":"\d+")");
    static const std::regex kCurrent(R"(current: \d+)");
    static const std::regex kAge(R"("\d+s"\])");
    static const std::regex kNodePort(R"("nodePort":\d+)");
    static const std::regex kClusterIp(R"re(("clusterIPs?":\[?)"10\.96\.[0-9.]+")re");
    static const std::regex kPointer("0xc[0-9a-f]+");
    json = std::regex_replace(json, kUid, "<uid>");
    json = std::regex_replace(json, kTime, "<time>");
    json = std::regex_replace(json, kVersion, R"("resourceVersion":"0")");
    json = std::regex_replace(json, kCurrent, "current: 0");
    json = std::regex_replace(json, kNodePort, R"("nodePort":0)");
    json = std::regex_replace(json, kClusterIp, R"($1"0.0.0.0")");
    json = std::regex_replace(json, kPointer, "0x0");
    return std::regex_replace(json, kAge, "\"0s\"]");
}

// The recording cuts long answers and ends them with an ellipsis.
void expect_same(const std::string& recorded, const std::string& got) {
    static const std::string kCut = "\u2026";
    const std::size_t cut = recorded.find(kCut);
    if (cut != std::string::npos) {
        const std::string head = recorded.substr(0, cut);
        EXPECT_EQ(normal(got).substr(0, normal(head).size()), normal(head));
        return;
    }
    const auto wanted = boost::json::parse(normal(recorded));
    boost::system::error_code error;
    const auto actual = boost::json::parse(normal(got), error);
    ASSERT_FALSE(error) << got;
    EXPECT_EQ(wanted, actual) << "recorded " << boost::json::serialize(wanted) << "\ngot      "
                              << boost::json::serialize(actual);
}

Headers headers_of(const boost::json::object& row) {
    Headers out;
    if (const auto* given = row.if_contains("h")) {
        for (const auto& header : given->as_object()) {
            out.emplace_back(std::string(header.key()), std::string(header.value().as_string()));
        }
    }
    return out;
}

// An object with these members alone; a list of such objects.
boost::json::value only(const boost::json::value& whole, const boost::json::array& members) {
    if (whole.is_array()) {
        boost::json::array out;
        for (const auto& item : whole.get_array()) out.push_back(only(item, members));
        return out;
    }
    boost::json::object out;
    for (const auto& member : members) {
        if (const auto* value = whole.as_object().if_contains(member.as_string())) {
            out[member.as_string()] = *value;
        }
    }
    return out;
}

// The part of an answer that the recorder kept; what is absent it wrote as null.
std::string kept(const boost::json::object& row, const Reply& reply) {
    // Of Tables it kept the rows.
    if (text(row, "title") == "Table row") return reply.at("/rows");
    const auto* at = row.if_contains("at");
    const auto* members = row.if_contains("members");
    if (at == nullptr && members == nullptr) return reply.body;
    const boost::json::value whole = reply.json();
    const auto find = [&whole](std::string_view pointer) {
        boost::system::error_code error;
        const auto* found = whole.find_pointer(pointer, error);
        return found == nullptr ? boost::json::value() : *found;
    };
    boost::json::value part = whole;
    if (at != nullptr && at->is_array()) {
        boost::json::array parts;
        for (const auto& pointer : at->get_array()) parts.push_back(find(pointer.as_string()));
        part = std::move(parts);
    } else if (at != nullptr) {
        part = find(at->as_string());
    }
    if (members != nullptr) part = only(part, members->as_array());
    return boost::json::serialize(part);
}

TEST(Replay, AnswersAsRecorded) {
    Cluster cluster;
    ASSERT_EQ(cluster.call("POST", "/api/v1/namespaces", R"({"metadata":{"name":"ho"}})").status,
              201);
    std::ifstream file(std::string(REGISTRY_TESTDATA) + "/recorded.jsonl");
    ASSERT_TRUE(file.is_open());
    std::string line;
    int rows = 0;
    while (std::getline(file, line)) {
        const auto parsed = boost::json::parse(line);
        const auto& row = parsed.as_object();
        SCOPED_TRACE(text(row, "title"));
        ++rows;
        if (const auto* setup = row.if_contains("setup")) {
            for (const auto& step : setup->as_array()) {
                const auto& request = step.as_object();
                const Reply done = cluster.call(text(request, "m"), text(request, "p"),
                                                text(request, "body"), headers_of(request));
                EXPECT_LT(done.status, 300) << done.body;
            }
        }
        std::string body = text(row, "body");
        constexpr std::string_view kLarge = "<1.1 MB>";
        if (const std::size_t at = body.find(kLarge); at != std::string::npos) {
            body.replace(at, kLarge.size(), std::string(1'100'000, 'x'));
        }
        Reply reply = cluster.call(text(row, "m"), text(row, "p"), body,
                                   headers_of(row));
        EXPECT_EQ(reply.status, row.at("status").as_int64()) << reply.body;
        if (const auto* wanted = row.if_contains("hdr")) {
            for (const auto& header : wanted->as_object()) {
                EXPECT_EQ(reply.header(header.key()), std::string(header.value().as_string()));
            }
        }
        if (const auto* absent = row.if_contains("absent")) {
            for (const auto& header : absent->as_array()) {
                EXPECT_EQ(reply.header(header.as_string()), "");
            }
        }
        if (!row.contains("resp")) continue;
        const std::string recorded = text(row, "resp");
        // Of plain 404s it kept the reason.
        if (recorded == "NotFound") {
            EXPECT_EQ(reply.at("/reason"), recorded);
        } else {
            expect_same(recorded, kept(row, reply));
        }
    }
    EXPECT_GE(rows, 100);
}

}  // namespace
}  // namespace sluice::registry::testing
