// The words of the page, in Portuguese and in English, and how numbers and dates are written.

const PORTUGUESE = {
  skipToAgenda: "Ir para a agenda",
  clinic: "Clínica",
  zone: "Fuso horário",
  figures: "Consultas",
  today: "Hoje",
  week: "Essa semana",
  month: "Mês vigente",
  nextMonth: "Mês subsequente",
  confirmed: "confirmadas",
  pending: "pendentes",
  confirmedShare: (share) => `${share} confirmadas`,
  noneYet: "nenhuma consulta",
  dayCounts: (date, confirmed, pending) =>
    `${date}: ${confirmed} confirmadas, ${pending} pendentes`,
  // States.
  connecting: "Conectando…",
  live: "Ao vivo",
  polling: "A cada 30 s",
  stale: "Desatualizado",
  failed: "Com falha",
  offline: "Sem conexão",
  signedOut: "Sessão encerrada",
  staleNotice: (age) =>
    `O banco de dados não responde. As contagens são de ${age} atrás; voltam a se atualizar sozinhas.`,
  offlineNotice: "Sem conexão com o serviço. A página tenta de novo sozinha.",
  failedNotice: (detail) => `${detail} A página tenta de novo sozinha.`,
  // Where an answer came from.
  source: (cache, age) => `X-Cache ${cache} · há ${age}`,
  seconds: (count) => `${count} s`,
  minutes: (count) => `${count} min`,
  hours: (count) => `${count} h`,
  docs: "A API",
  // Agenda.
  agenda: "Agenda",
  agendaOf: (date) => `Agenda de ${date}`,
  day: "Dia",
  dayBefore: "Dia anterior",
  dayAfter: "Dia seguinte",
  add: "Nova consulta",
  more: "Mostrar mais",
  noAppointments: "Nenhuma consulta neste dia.",
  loading: "Carregando…",
  patient: "Paciente",
  at: "Início",
  duration: "Duração em minutos",
  status: "Situação",
  confirm: "Confirmar",
  cancel: "Cancelar",
  move: "Remarcar",
  save: "Salvar",
  close: "Fechar",
  moveTitle: (patient) => `Remarcar ${patient}`,
  statusOf: { confirmed: "confirmada", pending: "pendente", cancelled: "cancelada" },
  confirmOf: (what) => `Confirmar ${what}`,
  cancelOf: (what) => `Cancelar ${what}`,
  moveOf: (what) => `Remarcar ${what}`,
  done: { confirmed: "Consulta confirmada.", cancelled: "Consulta cancelada." },
  added: "Consulta marcada.",
  moved: "Consulta remarcada.",
  minutesOf: (count) => `${count} min`,
  // Signing in.
  signIn: "Entrar",
  signInTitle: "É preciso um token de acesso",
  signInNote: "O token fica só na memória desta página, até ela ser fechada.",
  token: "Token de acesso",
  // Operations.
  operations: "Operação",
  forAdministrators: "Só administradores veem os números do cache.",
  hitShare: "Respostas do cache, último minuto",
  hitShareOver: (minutes) => `Parcela de respostas do cache nos últimos ${minutes} minutos`,
  hitTime: "Tempo de um acerto",
  missTime: "Tempo de uma falta",
  entries: "Entradas",
  backend: "Cache",
  backends: { memory: "memória", redis: "Redis", none: "desligado" },
  redis: "Redis",
  redisOk: "responde",
  redisSilent: "não responde",
  redisPending: (count) => `responde, ${count} invalidações pendentes`,
  redisNone: "não configurado",
  relay: "Repasse pelo PostgreSQL",
  relayState: (waiting) => {
    if (waiting === undefined) return "não usado";
    return waiting > 0 ? `${waiting} invalidações à espera` : "nada à espera";
  },
  viewers: "Páginas ao vivo",
  purge: "Limpar o cache desta clínica",
  purgeAll: "Limpar todo o cache",
  purged: "O cache foi limpo.",
};

const ENGLISH = {
  skipToAgenda: "Skip to the agenda",
  clinic: "Clinic",
  zone: "Time zone",
  figures: "Appointments",
  today: "Today",
  week: "This week",
  month: "This month",
  nextMonth: "Next month",
  confirmed: "confirmed",
  pending: "pending",
  confirmedShare: (share) => `${share} confirmed`,
  noneYet: "no appointments",
  dayCounts: (date, confirmed, pending) => `${date}: ${confirmed} confirmed, ${pending} pending`,
  connecting: "Connecting…",
  live: "Live",
  polling: "Every 30 s",
  stale: "Stale",
  failed: "Failing",
  offline: "Offline",
  signedOut: "Signed out",
  staleNotice: (age) =>
    `The database does not answer. The counts are ${age} old; they go on by themselves.`,
  offlineNotice: "The service cannot be reached. The page tries again by itself.",
  failedNotice: (detail) => `${detail} The page tries again by itself.`,
  source: (cache, age) => `X-Cache ${cache} · ${age} ago`,
  seconds: (count) => `${count} s`,
  minutes: (count) => `${count} min`,
  hours: (count) => `${count} h`,
  docs: "The API",
  agenda: "Agenda",
  agendaOf: (date) => `Agenda of ${date}`,
  day: "Day",
  dayBefore: "Previous day",
  dayAfter: "Next day",
  add: "New appointment",
  more: "Show more",
  noAppointments: "No appointments on this day.",
  loading: "Loading…",
  patient: "Patient",
  at: "Start",
  duration: "Duration in minutes",
  status: "Status",
  confirm: "Confirm",
  cancel: "Cancel",
  move: "Move",
  save: "Save",
  close: "Close",
  moveTitle: (patient) => `Move ${patient}`,
  statusOf: { confirmed: "confirmed", pending: "pending", cancelled: "cancelled" },
  confirmOf: (what) => `Confirm ${what}`,
  cancelOf: (what) => `Cancel ${what}`,
  moveOf: (what) => `Move ${what}`,
  done: { confirmed: "The appointment is confirmed.", cancelled: "The appointment is cancelled." },
  added: "The appointment is booked.",
  moved: "The appointment is moved.",
  minutesOf: (count) => `${count} min`,
  signIn: "Sign in",
  signInTitle: "An access token is needed",
  signInNote: "The token stays in this page's memory only, until the page is closed.",
  token: "Access token",
  operations: "Operations",
  forAdministrators: "Only administrators see the cache's figures.",
  hitShare: "Answers from the cache, last minute",
  hitShareOver: (minutes) => `Share of answers from the cache over the last ${minutes} minutes`,
  hitTime: "Time of a hit",
  missTime: "Time of a miss",
  entries: "Entries",
  backend: "Cache",
  backends: { memory: "memory", redis: "Redis", none: "off" },
  redis: "Redis",
  redisOk: "answers",
  redisSilent: "does not answer",
  redisPending: (count) => `answers, ${count} invalidations pending`,
  redisNone: "not configured",
  relay: "Relay through PostgreSQL",
  relayState: (waiting) => {
    if (waiting === undefined) return "not used";
    return waiting > 0 ? `${waiting} invalidations waiting` : "nothing waiting";
  },
  viewers: "Live pages",
  purge: "Purge this clinic's cache",
  purgeAll: "Purge the whole cache",
  purged: "The cache is purged.",
};

// The browser's first language that the page speaks, or English.
const wanted = navigator.languages.find((language) => /^(pt|en)\b/i.test(language)) ?? "en";

export const locale = wanted;
export const words = /^pt/i.test(wanted) ? PORTUGUESE : ENGLISH;

// Writes the words of the page's own elements.
export function translate() {
  document.documentElement.lang = locale;
  for (const element of document.querySelectorAll("[data-word]")) {
    element.textContent = words[element.dataset.word];
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", words[element.dataset.label]);
    element.title = words[element.dataset.label];
  }
}

const wholeNumbers = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const percents = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 0 });
const milliseconds = new Intl.NumberFormat(locale, { maximumSignificantDigits: 2 });

export const writeNumber = (number) => wholeNumbers.format(number);
export const writeShare = (share) => percents.format(share);
export const writeMilliseconds = (time) => `${milliseconds.format(time)} ms`;

// How long ago something was, in one unit.
export function writeAge(seconds) {
  if (seconds < 120) return words.seconds(Math.round(seconds));
  if (seconds < 7200) return words.minutes(Math.round(seconds / 60));
  return words.hours(Math.round(seconds / 3600));
}
