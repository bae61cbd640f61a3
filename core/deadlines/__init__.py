"""When an answer is owed to the data subject (GDPR Article 12(3)), and what moves that day.

periods    the calendar's arithmetic, pure
tables     the rows
moves      extend, pause, resume, answer: each with a reason and a ledger entry
watch      who is overdue, said once
"""
