#include "generator/text_generator.h"

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <utility>

#include "text/generated_text.h"
#include "transformer/threads.h"

namespace predictor {

namespace {

constexpr uint32_t kMaxSlots = 256;
constexpr size_t kScored = 64;  // tokens of prompts a step that get scores: each has the whole vocabulary's logits

TextGeneratorConfig checked(TextGeneratorConfig config) {
  if (config.slots < 1 || config.slots > kMaxSlots) throw std::invalid_argument("slots must be 1 to 256");
  if (config.threads < 1 || config.threads > kMaxThreads) throw std::invalid_argument("threads must be 1 to 256");
  config.policy.batch_items = 1;
  validate(config.limits, config.policy);
  return config;
}

std::vector<uint32_t> ends_of(const Vocabulary& vocabulary) {
  std::vector<uint32_t> tokens;
  for (uint32_t token = 0; token < vocabulary.ends.size(); ++token) {
    if (vocabulary.ends[token]) tokens.push_back(token);
  }
  return tokens;
}

bool contains(const std::vector<uint32_t>& tokens, uint32_t token) {
  return std::find(tokens.begin(), tokens.end(), token) != tokens.end();
}

size_t pages_for(size_t tokens) {
  return (tokens + PagePool::kTokens - 1) / PagePool::kTokens;
}

}  // namespace

struct TextGenerator::Sequence {
  Sequence(Batch taken, const std::vector<uint32_t>& end_tokens)
      : batch(std::move(taken)),
        request(static_cast<GenerateRequest&>(*batch[0])),
        tokens(request.prompt),
        text(request.stops),
        history(request.sampling, request.prompt),
        banned(request.stop_tokens) {
    if (request.form) {
      form = std::make_shared<FormState>();
      form->form = request.form;
    }
    if (!request.ignores_ends) banned.insert(banned.end(), end_tokens.begin(), end_tokens.end());
  }

  size_t unread() const { return tokens.size() - read; }
  bool is_decoding() const { return unread() == 1 && read > 0; }
  // Whether a token of the prompt is still to be scored; and whether it is the one after the token at `place`.
  bool needs_scores() const { return request.prompt_top && scored + 1 < request.prompt.size(); }
  bool is_scored_after(size_t place) const {
    return needs_scores() && place + 1 < request.prompt.size() && place >= scored;
  }

  Batch batch;  // of this request alone; goes back to the queue
  GenerateRequest& request;
  std::vector<uint32_t> tokens;  // the prompt and what was generated
  size_t read = 0;               // of them, whose keys and values are in `pages`
  std::vector<uint32_t> pages;
  size_t remembered = 0;  // pages that other sequences may find
  GeneratedText text;
  size_t reported = 0;  // bytes of it that were sent as progress
  TokenHistory history;
  std::vector<uint32_t> banned;  // while there are not min_tokens of them
  size_t scored = 0;             // tokens of the prompt, the first not counted
  std::shared_ptr<FormState> form;
  std::vector<float> held;  // logits that wait for it: batch mates do not
  bool done = false;
};

struct TextGenerator::Step {
  std::vector<Sequence*> sequences;
  std::vector<SequenceChunk> chunks;
  struct LogitsOf {
    Sequence* sequence;
    size_t place;  // of the token before, in the sequence
  };
  std::vector<uint32_t> logit_rows;
  std::vector<LogitsOf> logits_of;  // of each of them
  size_t rows = 0;
  size_t decoding = 0;
};

TextGenerator::TextGenerator(std::unique_ptr<GenerativeModel> model, Vocabulary vocabulary,
                             const TextGeneratorConfig& config)
    : model_(std::move(model)),
      vocabulary_(std::move(vocabulary)),
      end_tokens_(ends_of(vocabulary_)),
      slots_(checked(config).slots),
      threads_(config.threads),
      queue_(config.limits, checked(config).policy, slots_),
      pool_(model_->pages()) {
  if (vocabulary_.bytes.size() != model_->vocabulary() || vocabulary_.ends.size() != vocabulary_.bytes.size()) {
    throw std::invalid_argument("the vocabulary is not of the model's size");
  }
  thread_ = std::thread([this] { run(); });
}

TextGenerator::~TextGenerator() {
  queue_.close();
  thread_.join();
}

Submission TextGenerator::submit(std::unique_ptr<GenerateRequest> request) {
  if (request->prompt.empty() || (request->max_tokens < 1 && !request->prompt_top)) {
    throw std::invalid_argument("there is nothing to do");
  }
  if (request->prompt.size() + request->max_tokens > model_->context()) {
    throw std::invalid_argument("more tokens than the model has positions");
  }
  const auto require_known = [&](uint32_t token) {
    if (token >= model_->vocabulary()) throw std::invalid_argument("a token that is not in the vocabulary");
  };
  for (const uint32_t token : request->prompt) require_known(token);
  for (const uint32_t token : request->stop_tokens) require_known(token);
  for (const auto& [token, bias] : request->sampling.bias) require_known(token);
  request->tokens = static_cast<uint32_t>(request->prompt.size()) + request->max_tokens;
  return queue_.submit(std::move(request));
}

bool TextGenerator::wake() {
  queue_.wake();
  return false;
}

std::vector<Progress> TextGenerator::progress() {
  std::lock_guard lock(mutex_);
  return std::exchange(progress_, {});
}

TextGeneratorStats TextGenerator::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void TextGenerator::run() {
  set_threads(threads_);
  for (;;) {
    queue_.sweep();
    end_expired();
    release_abandoned();
    if (!admit()) return;
    const bool waits = go_on_with_forms();
    Step step = plan();
    if (!step.chunks.empty()) {
      read(step);
    } else if (waits) {
      forms_.wait();
    }
    remove_finished();
    announce_progress();
  }
}

// Gives free slots to those who wait; waits for someone when no text grows. False: the queue is closed.
bool TextGenerator::admit() {
  while (sequences_.size() < slots_) {
    if (waiting_.empty()) {
      Batch batch = sequences_.empty() ? queue_.take() : queue_.try_take();
      if (batch.empty()) {
        if (sequences_.empty()) return false;
        break;
      }
      waiting_.push_back(std::make_unique<Sequence>(std::move(batch), end_tokens_));
      if (waiting_.back()->form) forms_.begin(waiting_.back()->form);
      std::lock_guard lock(mutex_);
      stats_.prompt_tokens += waiting_.back()->tokens.size();
    }
    // Whoever comes must not take the room that the others are about to need: a page each.
    const size_t needed = pages_for(waiting_.front()->tokens.size() + 1);
    if (!sequences_.empty() && needed + sequences_.size() > pool_.available()) break;
    take_on(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  std::lock_guard lock(mutex_);
  stats_.busy_slots = static_cast<uint32_t>(sequences_.size());
  stats_.held_pages = pool_.held();
  return true;
}

// Of a known beginning all but the last token need not be read again: its logits are needed; those of all, where the
// prompt has no scores yet.
void TextGenerator::take_on(std::unique_ptr<Sequence> sequence) {
  if (!sequence->needs_scores()) {
    sequence->pages = pool_.find({sequence->tokens.data(), sequence->tokens.size() - 1});
  }
  sequence->remembered = sequence->pages.size();
  sequence->read = sequence->pages.size() * PagePool::kTokens;
  {
    std::lock_guard lock(mutex_);
    stats_.cached_tokens += sequence->read;
  }
  sequences_.push_back(std::move(sequence));
}

// Texts whose deadline has passed end with what there is of them.
void TextGenerator::end_expired() {
  const Nanoseconds now = Queue::monotonic_now();
  const auto end = [&](auto& sequences) {
    for (auto& sequence : sequences) {
      GenerateRequest& request = sequence->request;
      if (sequence->done || request.deadline > now || !request.keeps_work) continue;
      request.finish = FinishReason::deadline;
      finish(*sequence);
    }
  };
  end(sequences_);
  end(waiting_);
}

void TextGenerator::release_abandoned() {
  bool any = false;
  for (auto& sequence : sequences_) any |= sequence->done |= sequence->request.abandoned;
  for (auto& sequence : waiting_) any |= sequence->done |= sequence->request.abandoned;
  if (!any) return;
  remove_finished();
  std::lock_guard lock(mutex_);
  stats_.left_at_step = stats_.steps;
}

// The texts that grow first, then prompts, oldest first, in the room that is left. Only the oldest gets room at the
// cost of the youngest: so there is always someone who comes to an end.
TextGenerator::Step TextGenerator::plan() {
  Step step;
  for (size_t i = 0; i < sequences_.size(); ++i) {  // the youngest may be put back meanwhile
    if (sequences_[i]->is_decoding() && make_room(*sequences_[i], 1)) {
      add(step, *sequences_[i], 1);
      ++step.decoding;
    }
  }
  size_t budget = budget_.prompt_tokens(step.decoding);
  size_t scored = kScored;
  for (size_t i = 0; i < sequences_.size() && budget > 0; ++i) {
    Sequence& sequence = *sequences_[i];
    if (sequence.is_decoding()) continue;
    const size_t wanted = std::min({budget, sequence.unread(), sequence.needs_scores() ? scored : budget});
    const size_t room = (sequence.pages.size() + pool_.available()) * PagePool::kTokens - sequence.read;
    const size_t tokens = step.chunks.empty() ? wanted : std::min(wanted, room);
    if (tokens == 0 || !make_room(sequence, tokens)) continue;
    add(step, sequence, tokens);
    budget -= tokens;
    if (sequence.needs_scores()) scored -= tokens;
  }
  return step;
}

void TextGenerator::add(Step& step, Sequence& sequence, size_t tokens) {
  step.sequences.push_back(&sequence);
  step.chunks.push_back({{sequence.tokens.data() + sequence.read, tokens}, sequence.read, sequence.pages});
  const bool samples = tokens == sequence.unread() && sequence.request.max_tokens > 0;
  for (size_t i = sequence.needs_scores() ? 0 : tokens - 1; i < tokens; ++i) {
    const size_t place = sequence.read + i;
    if (!sequence.is_scored_after(place) && !(samples && i == tokens - 1)) continue;
    step.logit_rows.push_back(static_cast<uint32_t>(step.rows + i));
    step.logits_of.push_back({&sequence, place});
  }
  step.rows += tokens;
}

// Of those that are in the step already none is younger. False: the sequence was the youngest itself, and waits again.
bool TextGenerator::make_room(Sequence& sequence, size_t tokens) {
  while (sequence.pages.size() < pages_for(sequence.read + tokens)) {
    if (const std::optional<uint32_t> page = pool_.take()) {
      sequence.pages.push_back(*page);
      continue;
    }
    const bool is_youngest = sequences_.back().get() == &sequence;
    put_back_youngest();
    if (is_youngest) return false;
  }
  return true;
}

// Its tokens stay and are read again later, with the same result. It is the next one to come.
void TextGenerator::put_back_youngest() {
  std::unique_ptr<Sequence> youngest = std::move(sequences_.back());
  sequences_.pop_back();
  pool_.release(youngest->pages);
  youngest->pages.clear();
  youngest->read = 0;
  youngest->held.clear();
  youngest->remembered = 0;
  waiting_.push_front(std::move(youngest));
  std::lock_guard lock(mutex_);
  ++stats_.put_back;
}

void TextGenerator::read(Step& step) {
  const Nanoseconds begin = Queue::monotonic_now();
  try {
    const std::span<float> logits = model_->forward(step.chunks, step.logit_rows);
    for (size_t i = 0; i < step.sequences.size(); ++i) {
      Sequence& sequence = *step.sequences[i];
      sequence.read += step.chunks[i].tokens.size();
      sequence.remembered =
          pool_.remember({sequence.tokens.data(), sequence.read}, sequence.pages, sequence.remembered);
    }
    const size_t vocabulary = model_->vocabulary();
    for (size_t i = 0; i < step.logits_of.size(); ++i) {
      const auto [sequence, place] = step.logits_of[i];
      if (sequence->done) continue;  // it failed
      try {
        take_logits(*sequence, place, logits.subspan(i * vocabulary, vocabulary));
      } catch (const std::exception& error) {
        fail(*sequence, error.what());
      }
    }
    for (Sequence* sequence : step.sequences) {
      if (sequence->request.max_tokens == 0 && sequence->unread() == 0 && !sequence->done) finish(*sequence);
    }
  } catch (const std::exception& error) {
    for (Sequence* sequence : step.sequences) fail(*sequence, error.what());
  }
  budget_.measured(step.decoding, step.rows - step.decoding, Queue::monotonic_now() - begin);
  std::lock_guard lock(mutex_);
  ++stats_.steps;
}

// Of the token that comes after the one at `place`.
void TextGenerator::take_logits(Sequence& sequence, size_t place, std::span<float> logits) {
  GenerateRequest& request = sequence.request;
  if (place + 1 == sequence.tokens.size()) return sample(sequence, logits);
  request.scores.prompt.push_back(scorer_.score(logits, sequence.tokens[place + 1], *request.prompt_top));
  ++sequence.scored;
}

void TextGenerator::sample(Sequence& sequence, std::span<float> logits) {
  GenerateRequest& request = sequence.request;
  if (sequence.form && !forms_.is_ready(*sequence.form)) {
    sequence.held.assign(logits.begin(), logits.end());
    return;
  }
  if (sequence.form && !follow_form(sequence)) return;
  Restriction restriction;
  if (sequence.form) restriction.allowed = sequence.form->allowed;
  if (request.generated.size() < request.min_tokens) restriction.banned = sequence.banned;
  if (request.top) given_.assign(logits.begin(), logits.end());
  const uint32_t token =
      sampler_.choose(logits, request.sampling, sequence.history, restriction, request.generated.size());
  if (request.top) request.scores.generated.push_back(scorer_.score(given_, token, *request.top));
  append(sequence, token);
  std::lock_guard lock(mutex_);
  ++stats_.tokens;
}

void TextGenerator::append(Sequence& sequence, uint32_t token) {
  GenerateRequest& request = sequence.request;
  request.generated.push_back(token);
  request.keeps_work = true;
  sequence.tokens.push_back(token);
  sequence.history.add(token);
  const bool ends = vocabulary_.ends[token] && !request.ignores_ends;
  const bool stopped = !ends && stops(sequence, token);
  if (ends || stopped || request.generated.size() == request.max_tokens) {
    request.finish = ends ? FinishReason::end_of_text : stopped ? FinishReason::stop : FinishReason::length;
    finish(sequence);
    return;
  }
  if (sequence.form) forms_.take(sequence.form, token);
  if (request.streamed) stream(sequence);
}

// Where an end may come, the model's own tokens say so. False: the text is complete, and ends here. Throws
// std::runtime_error when the form cannot be followed.
bool TextGenerator::follow_form(Sequence& sequence) {
  FormState& state = *sequence.form;
  if (!state.error.empty()) throw std::runtime_error(state.error);
  std::vector<uint32_t>& allowed = state.allowed;
  const uint32_t vocabulary = model_->vocabulary();
  const auto is_allowed = [&](uint32_t token) { return (allowed[token / 32] >> token % 32 & 1) != 0; };
  if (!allowed.empty() && allowed.size() * 32 <= vocabulary) throw std::runtime_error("the form is of another size");
  const bool may_end = allowed.empty() || is_allowed(vocabulary);
  if (!allowed.empty()) {
    allowed[vocabulary / 32] &= (uint32_t{1} << vocabulary % 32) - 1;
    const bool goes_on = std::any_of(allowed.begin(), allowed.end(), [](uint32_t word) { return word != 0; });
    if (may_end && !sequence.request.ignores_ends) {
      for (const uint32_t token : end_tokens_) allowed[token / 32] |= uint32_t{1} << token % 32;
    }
    if (goes_on) return true;
  }
  if (!may_end) throw std::runtime_error("no token of the vocabulary fits the form");
  sequence.request.finish = FinishReason::stop;
  finish(sequence);
  return false;
}

// Samples what has waited for its form. Whether something still does.
bool TextGenerator::go_on_with_forms() {
  bool waits = false;
  for (auto& sequence : sequences_) {
    if (!sequence->form || sequence->held.empty() || sequence->done) continue;
    if (!forms_.is_ready(*sequence->form)) {
      waits = true;
      continue;
    }
    std::vector<float> logits = std::exchange(sequence->held, {});
    try {
      sample(*sequence, logits);
    } catch (const std::exception& error) {
      fail(*sequence, error.what());
    }
  }
  remove_finished();
  return waits;
}

// The token's bytes become part of the text, unless it stops before them.
bool TextGenerator::stops(Sequence& sequence, uint32_t token) {
  const GenerateRequest& request = sequence.request;
  if (contains(request.stop_tokens, token)) return true;
  if (request.generated.size() >= request.min_tokens) return sequence.text.append(vocabulary_.bytes[token]);
  sequence.text.pass(vocabulary_.bytes[token]);
  return false;
}

void TextGenerator::stream(Sequence& sequence) {
  const size_t sure = sequence.text.sure();
  std::string more = sequence.text.bytes().substr(sequence.reported, sure - sequence.reported);
  sequence.reported = sure;
  std::lock_guard lock(mutex_);
  progress_.push_back({sequence.request.id, std::move(more), static_cast<uint32_t>(sequence.request.generated.size()),
                       std::exchange(sequence.request.scores, {})});
}

void TextGenerator::finish(Sequence& sequence) {
  sequence.text.end();
  const std::string& bytes = sequence.text.bytes();
  sequence.request.text = bytes.substr(std::min(sequence.reported, bytes.size()));
  sequence.done = true;
}

void TextGenerator::fail(Sequence& sequence, const char* message) {
  sequence.request.status = Status::internal;
  sequence.request.message = message;
  sequence.done = true;
}

// Wakes the event loop once for all that streamed texts have grown by.
void TextGenerator::announce_progress() {
  {
    std::lock_guard lock(mutex_);
    if (progress_.empty()) return;
  }
  queue_.announce_more();
}

// Hands finished texts back and frees their pages; first the count, which who is answered may ask for.
void TextGenerator::remove_finished() {
  std::vector<Batch> finished;
  const auto take_finished = [&](auto& sequences) {
    for (auto& sequence : sequences) {
      if (!sequence->done) continue;
      pool_.release(sequence->pages);
      finished.push_back(std::move(sequence->batch));
    }
    std::erase_if(sequences, [](const auto& sequence) { return sequence->done; });
  };
  take_finished(sequences_);
  take_finished(waiting_);
  {
    std::lock_guard lock(mutex_);
    stats_.busy_slots = static_cast<uint32_t>(sequences_.size());
    stats_.held_pages = pool_.held();
  }
  for (Batch& batch : finished) queue_.finish(std::move(batch));
}

}  // namespace predictor
