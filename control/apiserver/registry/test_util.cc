#include "control/apiserver/registry/test_util.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdlib>
#include <regex>

namespace sluice::registry::testing {

namespace {

constexpr std::chrono::seconds kPatience{30};

std::string percent_decode(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '%' && i + 2 < text.size()) {
            out += static_cast<char>(
                std::strtol(std::string(text.substr(i + 1, 2)).c_str(), nullptr, 16));
            i += 2;
        } else {
            out += text[i];
        }
    }
    return out;
}

}  // namespace

void Recorder::send(http::Response response) {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(response_.has_value()) << "answered twice";
    response_ = std::move(response);
    ended_ = true;
    changed_.notify_all();
}

void Recorder::begin_stream(http::Response head) {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(response_.has_value()) << "answered twice";
    response_ = std::move(head);
    changed_.notify_all();
}

bool Recorder::write(std::string chunk) {
    const std::lock_guard lock(mutex_);
    if (hung_up_) return false;
    stream_ += chunk;
    changed_.notify_all();
    return true;
}

void Recorder::end_stream() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
}

void Recorder::on_close(std::function<void()> callback) {
    const std::lock_guard lock(mutex_);
    on_close_ = std::move(callback);
}

bool Recorder::answered() {
    const std::lock_guard lock(mutex_);
    return response_.has_value();
}

http::Response Recorder::wait() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [this] { return ended_; })) << "no answer";
    http::Response out = response_.value_or(http::Response{0, {}, ""});
    out.body += stream_;
    return out;
}

std::vector<std::string> Recorder::wait_lines(std::size_t count) {
    std::unique_lock lock(mutex_);
    const auto lines = [this] {
        return static_cast<std::size_t>(std::count(stream_.begin(), stream_.end(), '\n'));
    };
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return ended_ || lines() >= count; }))
        << "wanted " << count << " lines, have " << lines();
    std::vector<std::string> out;
    std::string_view rest = stream_;
    while (!rest.empty()) {
        const std::size_t end = rest.find('\n');
        out.emplace_back(rest.substr(0, end));
        rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    }
    return out;
}

std::string Recorder::streamed() {
    const std::lock_guard lock(mutex_);
    return stream_;
}

void Recorder::hang_up() {
    std::function<void()> callback;
    {
        const std::lock_guard lock(mutex_);
        hung_up_ = true;
        callback.swap(on_close_);
    }
    if (callback) callback();
}

std::string ageless(const std::string& cells) {
    static const std::regex age(R"("\d+[smh]")");
    return std::regex_replace(cells, age, R"("AGE")");
}

boost::json::value Reply::json() const {
    boost::system::error_code error;
    auto value = boost::json::parse(body, error);
    EXPECT_FALSE(error) << body;
    return value;
}

std::string Reply::at(std::string_view pointer) const {
    const auto value = json();
    boost::system::error_code error;
    const auto* found = value.find_pointer(pointer, error);
    if (found == nullptr) return "";
    if (found->is_string()) return std::string(found->get_string());
    return boost::json::serialize(*found);
}

std::string Reply::header(std::string_view name) const {
    for (const auto& [key, value] : headers) {
        if (key == name) return value;
    }
    return "";
}

Cluster::Cluster(bool dual_stack) {
    std::string pattern = (std::filesystem::temp_directory_path() / "registry-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    options_.service_cidrs.push_back(*IpPrefix::parse("10.96.0.0/16"));
    if (dual_stack) options_.service_cidrs.push_back(*IpPrefix::parse("fd00:10:96::/112"));
    options_.advertise_address = "192.0.2.1";
    store::SqliteOptions store_options;
    store_options.path = (folder_ / "store.db").string();
    store_options.durable = false;
    auto store = store::open_sqlite(store_options);
    EXPECT_TRUE(store.has_value()) << store.error().to_string();
    store_ = std::move(*store);
    make();
}

Cluster::~Cluster() {
    api_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
}

void Cluster::make() {
    auto api = make_api(*store_, options_);
    ASSERT_TRUE(api.has_value()) << api.error().to_string();
    api_ = std::move(*api);
}

void Cluster::restart() {
    api_.reset();
    make();
}

std::shared_ptr<Recorder> Cluster::start(const std::string& method, const std::string& target,
                                         const std::string& body, const Headers& headers) {
    auto request = std::make_shared<http::Request>();
    request->method = method;
    const std::size_t mark = target.find('?');
    request->path = percent_decode(std::string_view(target).substr(0, mark));
    std::string_view query =
        mark == std::string::npos ? std::string_view() : std::string_view(target).substr(mark + 1);
    while (!query.empty()) {
        const std::size_t end = query.find('&');
        const std::string_view pair = query.substr(0, end);
        query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
        const std::size_t equals = pair.find('=');
        request->query.emplace_back(
            percent_decode(pair.substr(0, equals)),
            equals == std::string_view::npos ? "" : percent_decode(pair.substr(equals + 1)));
    }
    for (auto [name, value] : headers) {
        std::transform(name.begin(), name.end(), name.begin(),
                       [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
        request->headers.emplace_back(name, value);
    }
    request->body = body;
    auto recorder = std::make_shared<Recorder>();
    api_->handle(request, recorder);
    return recorder;
}

Reply Cluster::call(const std::string& method, const std::string& target, const std::string& body,
                    const Headers& headers) {
    const auto recorder = start(method, target, body, headers);
    http::Response response = recorder->wait();
    return {response.status, std::move(response.body), std::move(response.headers)};
}

void expect_refused(const Reply& reply, const std::string& why) {
    EXPECT_EQ(reply.status, 422) << reply.body;
    EXPECT_NE(reply.at("/message").find(why), std::string::npos) << reply.at("/message");
}

std::string cells(Cluster& cluster, const std::string& path) {
    return ageless(cluster.call("GET", path, "", kTable).at("/rows/0/cells"));
}

}  // namespace sluice::registry::testing
