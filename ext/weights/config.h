// A model's config.json, read field by field. What nobody has read in the end changes the model in a way that is not
// served, unless it is known to be harmless: finish() says so.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace predictor {

class Config {
 public:
  struct Value;
  using List = std::vector<Value>;
  using Object = std::map<std::string, Value>;
  struct Value {
    std::variant<std::monostate, bool, int64_t, double, std::string, List, Object> content;
  };

  // `name`: what messages call it.
  explicit Config(Object fields, std::string name = "config.json");

  // Whether the field is there and not null.
  bool has(const std::string& field) const;
  bool is_text(const std::string& field) const;

  // Each throws ModelError when the field is not there, of another type, or out of range. Every whole number must lie
  // in 0 to kMaxSize: what is allocated for it is bounded.
  static constexpr int64_t kMaxSize = 1 << 24;
  int64_t size(const std::string& field) const;  // at least 1
  std::string text(const std::string& field) const;
  Config object(const std::string& field) const;
  std::vector<Config> objects(const std::string& field) const;
  std::vector<std::string> texts(const std::string& field) const;
  std::vector<double> numbers(const std::string& field) const;

  // The same with a value for a field that is not there or null.
  int64_t size(const std::string& field, int64_t otherwise) const;
  int64_t whole(const std::string& field, int64_t otherwise) const;  // of either sign
  double number(const std::string& field, double otherwise) const;
  bool flag(const std::string& field, bool otherwise) const;
  std::string text(const std::string& field, const std::string& otherwise) const;

  // The first of the fields that is there; the last where none is.
  std::string any_of(std::initializer_list<const char*> fields) const;

  // Throws ModelError when the field is there and has another value than the only one that is served.
  void expect(const std::string& field, const char* only) const;
  void expect(const std::string& field, bool only) const;

  // Fields that change nothing here, whatever they hold.
  void ignore(std::initializer_list<const char*> fields) const;
  // Throws ModelError for a field that nobody has read, and that is neither null nor known to be harmless.
  void finish() const;

  // [config.json: FIELD is VALUE; only ... is served]
  [[noreturn]] void refuse(const std::string& field, const std::string& what) const;

 private:
  const Value* find(const std::string& field) const;  // null where it is not there or null; it counts as read
  const Value& get(const std::string& field) const;

  Object fields_;
  std::string name_;
  std::shared_ptr<std::set<std::string>> read_;
};

}  // namespace predictor
